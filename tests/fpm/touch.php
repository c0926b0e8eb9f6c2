<?php
// Sessions that are touched at the very moment at which they would expire, and those who sweep meanwhile.
//   php touch.php touch|sweep SECONDS
// A session that was touched must be there for its lifetime. Prints "TOUCHES GONE EDGE": touches, how many of
// those sessions were gone too early, and how many touches came when the session had just expired.
declare(strict_types=1);
const SESSIONS = 100;
const LIFETIME_S = 1.0;
const CLOCK_S = 0.02; // what the clocks of the two sides may differ by
ini_set('session.gc_maxlifetime', '1');
[$role, $ends] = [$argv[1], microtime(true) + (float) $argv[2]];

function wait_until(float $moment): void
{
    $left = $moment - microtime(true);
    $left > 0 && usleep((int) ($left * 1e6));
}

function start(string $id): float
{
    session_id($id);
    session_start() || exit("session_start failed\n");
    return microtime(true);
}

if ($role === 'sweep') {
    start('sweeper-' . getmypid());
    while (microtime(true) < $ends) {
        session_gc() === false && exit("session_gc failed\n");
    }
    exit(0);
}

$touched = [];
$mine = getmypid();
for ($number = 0; $number < SESSIONS; $number++) {
    start("touched-$mine-$number");
    $_SESSION['n'] = $number;
    $touched[$number] = microtime(true);
    session_write_close();
    usleep((int) (LIFETIME_S / SESSIONS * 1e6));
}
$touches = $gone = $edge = 0;
for ($number = 0; microtime(true) < $ends; $number = ($number + 1) % SESSIONS) {
    $expires = $touched[$number] + LIFETIME_S;
    wait_until($expires - 0.004);
    $read = start("touched-$mine-$number");
    $found = ($_SESSION['n'] ?? null) === $number;
    if (!$found && $read < $expires - CLOCK_S) {
        $gone++;
    }
    $_SESSION['n'] = $number;
    wait_until($expires + random_int(-2000, 2000) / 1e6);
    $touched[$number] = microtime(true);
    session_write_close();
    $edge += (int) ($found && $touched[$number] > $expires);
    $touches++;
    // The next look comes at once for some of them: at what the touch has just saved.
    if ($number % 2 === 0) {
        start("touched-$mine-$number");
        $gone += (int) (($_SESSION['n'] ?? null) !== $number);
        session_abort();
    }
}
echo "$touches $gone $edge\n";
