<?php
/*
 * What a session costs per request: start, change, write and close, with a 2,048-byte session.
 * All handlers are measured in this one process, in interleaved rounds, and medians are compared,
 * so that a slow moment of the machine strikes all of them. The null handler stores nothing: what
 * a cycle costs with it is PHP's own work, and the handler's own cost is what comes on top.
 *
 *   bench/run.sh [options]
 *     --disk DIR   a directory on a disk        (default: the directory for temporary files)
 *     --tmpfs DIR  a directory in memory        (default: /dev/shm)
 *     --rounds N   rounds per handler and cycle (default: 15)
 *     --cycles N   cycles per round             (default: 4000)
 *     --json       print the result as JSON too
 */

const SESSION_BYTES = 2048;
const FIRST_COUNT = 1000000; // from here on the counter keeps its length for a long while

function options(): array
{
    $given = getopt('', ['disk:', 'tmpfs:', 'rounds:', 'cycles:', 'json']);
    return [
        'disk' => $given['disk'] ?? sys_get_temp_dir(),
        'tmpfs' => $given['tmpfs'] ?? '/dev/shm',
        'rounds' => (int) ($given['rounds'] ?? 15),
        'cycles' => (int) ($given['cycles'] ?? 4000),
        'json' => isset($given['json']),
    ];
}

/* Each handler with a directory of its own. */
function handlers(array $options): array
{
    $handlers = ['null' => ['holdfast_null', '']];
    foreach (['files', 'holdfast'] as $handler) {
        foreach (['tmpfs', 'disk'] as $place) {
            $directory = "{$options[$place]}/holdfast-bench-" . getmypid() . "-$handler";
            mkdir($directory, 0700) or exit(1);
            $handlers["$handler, $place"] = [$handler, $directory];
        }
    }
    return $handlers;
}

function remove_directories(array $handlers): void
{
    foreach (array_filter(array_column($handlers, 1)) as $directory) {
        $entries = new RecursiveIteratorIterator(
            new RecursiveDirectoryIterator($directory, FilesystemIterator::SKIP_DOTS),
            RecursiveIteratorIterator::CHILD_FIRST
        );
        foreach ($entries as $entry) {
            $entry->isDir() ? rmdir($entry) : unlink($entry);
        }
        rmdir($directory);
    }
}

function use_handler(array $handler): void
{
    if (ini_set('session.save_handler', $handler[0]) === false) {
        exit("the handler $handler[0] is not loaded\n");
    }
    ini_set('session.save_path', $handler[1]);
    session_id('0123456789abcdefghijklmnop');
}

function make_session(): void
{
    session_start() or exit("session_start() failed\n");
    $_SESSION = ['n' => FIRST_COUNT, 'filling' => ''];
    $_SESSION['filling'] = str_repeat('x', SESSION_BYTES - strlen(session_encode()) - 3);
    if (strlen(session_encode()) !== SESSION_BYTES) {
        exit('the session has ' . strlen(session_encode()) . " bytes\n");
    }
    session_write_close();
}

$cycles = [
    'changed' => function (int $count): void {
        for ($i = 0; $i < $count; $i++) {
            session_start();
            $_SESSION['n']++;
            session_write_close();
        }
    },
    'unchanged' => function (int $count): void {
        for ($i = 0; $i < $count; $i++) {
            session_start();
            session_write_close();
        }
    },
    'read_and_close' => function (int $count): void {
        for ($i = 0; $i < $count; $i++) {
            session_start(['read_and_close' => true]);
        }
    },
];

function median(array $values): float
{
    sort($values);
    return $values[intdiv(count($values), 2)];
}

/* Microseconds per cycle, by cycle and handler; one round each to warm up. */
function measure(array $handlers, array $cycles, array $options): array
{
    $samples = [];
    for ($round = -1; $round < $options['rounds']; $round++) {
        foreach ($cycles as $cycle => $run) {
            foreach ($handlers as $name => $handler) {
                use_handler($handler);
                $began = hrtime(true);
                $run($options['cycles']);
                $took = (hrtime(true) - $began) / 1000 / $options['cycles'];
                if ($round >= 0) {
                    $samples[$cycle][$name][] = $took;
                }
            }
        }
    }
    return array_map(fn($of_cycle) => array_map('median', $of_cycle), $samples);
}

/* A benchmark that counts wrong has measured nothing. */
function check_answers(array $handlers, int $expected): void
{
    foreach ($handlers as $name => $handler) {
        use_handler($handler);
        session_start(['read_and_close' => true]);
        if ($_SESSION['n'] !== $expected) {
            exit("$name: counted {$_SESSION['n']} instead of $expected\n");
        }
    }
}

ini_set('session.use_cookies', '0');
ini_set('session.use_strict_mode', '0');
ini_set('session.gc_probability', '0');
session_cache_limiter('');
ob_start(); // PHP changes no session setting after the first byte of output

$options = options();
$handlers = handlers($options);
register_shutdown_function('remove_directories', $handlers);
foreach ($handlers as $handler) {
    use_handler($handler);
    make_session();
}
$medians = measure($handlers, $cycles, $options);
check_answers($handlers, FIRST_COUNT + ($options['rounds'] + 1) * $options['cycles']);

printf("PHP %s, libholdfast %s, %d-byte session, medians of %d rounds of %d cycles\n\n",
    PHP_VERSION, holdfast_status()['library'], SESSION_BYTES, $options['rounds'],
    $options['cycles']);
printf("%-20s", 'us (handler alone)');
foreach (array_keys($cycles) as $cycle) {
    printf("%20s", $cycle);
}
echo "\n";
foreach (array_keys($handlers) as $name) {
    printf("%-20s", $name);
    foreach ($medians as $of_cycle) {
        printf("%12.2f (%5.2f)", $of_cycle[$name], $of_cycle[$name] - $of_cycle['null']);
    }
    echo "\n";
}
echo "\nAll counters are right.\n";
if ($options['json']) {
    echo json_encode($medians), "\n";
}
