<?php
// Dies by a signal in one part of a request, just before the part's n-th store to shared memory.
//   part=      open, read, locked, close (which writes), gc, destroy
//   n=N        which store; one that is never made lets the request live, and it answers "STORES PID"
//   signal=N   0: stop there, for somebody else to end
// Needs an extension with the library's fault points in it.
require __DIR__ . '/state.inc';
$library = FFI::cdef('uint64_t holdfast_test_die(uint64_t n, int signal); int raise(int signal);');
const NEVER = -1; // as an unsigned number, the largest
[$part, $n, $signal] = [$_GET['part'], (int) $_GET['n'], (int) $_GET['signal']];

function armed(callable $work): int
{
    global $library, $n, $signal;
    $library->holdfast_test_die($n, $signal);
    $work();
    $left = $library->holdfast_test_die(NEVER, 0);
    return $n - $left;
}

if ($part !== 'open') {
    // Opens the store in this worker, so that the part is what it is named after.
    holdfast_status();
}
$begin = fn() => start_session();
if ($part === 'open' || $part === 'read') {
    $stores = armed($begin);
} else {
    $begin();
    change();
    $stores = match ($part) {
        'locked' => $signal ? $library->raise($signal) : sleep(30),
        'close' => armed(close_session(...)),
        'gc' => armed(fn() => session_gc() === false && answer('session_gc failed', 503)),
        'destroy' => armed(fn() => session_destroy() || answer('session_destroy failed', 503)),
    };
}
answer($stores . ' ' . getmypid());
