<?php
// Provokes one kind of trouble with the visitor's session, and shows all that PHP and the extension say of it.
//   what=      see provoke()
// The data holds a secret, and the id is one: neither may be in the answer.
require __DIR__ . '/state.inc';
ini_set('display_errors', '1');
ini_set('html_errors', '0');
// Traces with whole arguments: the most that PHP ever tells.
ini_set('zend.exception_string_param_max_len', '1000000');
$secret = file_get_contents(__DIR__ . '/secret');

function start_and(callable $work): void
{
    global $secret;
    if (session_start()) {
        $_SESSION['secret'] = $secret;
        $work();
        session_write_close();
    }
}

function throwing(int $severity, string $message, string $file, int $line): never
{
    throw new ErrorException($message, 0, $severity, $file, $line);
}

/** An application's own handler, whose frames PHP writes into traces, with their arguments. */
class Framework extends SessionHandler
{
    public function write(string $id, string $data): bool
    {
        throw new Error('not written');
    }
}

function provoke(string $what): void
{
    $settings = match ($what) {
        'limit', 'exception' => ['max_session_bytes' => '5'],
        'wait' => ['lock_wait_ms' => '20'],
        'crowd' => ['lock_wait_ms' => '20', 'max_waiters' => '1'],
        'snapshot' => ['lock_wait_ms' => '20', 'lock_failure' => 'readonly'],
        'slow' => ['slow_lock_log_ms' => '1'],
        'lease' => ['lock_lease_ms' => '50'],
        default => [],
    };
    foreach ($settings as $setting => $value) {
        ini_set("holdfast.$setting", $value);
    }
    match ($what) {
        'exception' => set_error_handler(throwing(...)),
        'framework' => session_set_save_handler(new Framework(), false),
        'bad-id' => session_id($_COOKIE[session_name()] . '.'),
        default => null,
    };
    start_and(match ($what) {
        'large' => fn() => $_SESSION['text'] = str_repeat($GLOBALS['secret'], 80000),
        'quite-large' => fn() => $_SESSION['text'] = str_repeat($GLOBALS['secret'], 15000),
        'lease' => fn() => usleep(400000) ?? change(),
        'fatal' => fn() => trigger_error('ended', E_USER_ERROR),
        'phpinfo' => fn() => phpinfo(INFO_GENERAL | INFO_CONFIGURATION | INFO_MODULES),
        default => change(...),
    });
}

ob_start();
register_shutdown_function(function (): void {
    print_r(holdfast_status());
    print_r(holdfast_locks());
});
provoke($_GET['what']);
