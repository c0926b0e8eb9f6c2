--TEST--
A signal that PHP is to handle ends the wait for a lock
--EXTENSIONS--
holdfast
--SKIPIF--
<?php
if (!function_exists('pcntl_alarm')) die('skip needs pcntl');
?>
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('interrupted_wait');
$child = hold('busy');
pcntl_async_signals(true);
pcntl_signal(SIGALRM, function () { echo "signal handled\n"; });
pcntl_alarm(1);
session_id('busy');
$ms = stopwatch(fn() => var_dump(session_start()));
echo $ms < 3000 ? "soon\n" : "after $ms ms\n";
$child->kill();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('interrupted_wait');
?>
--EXPECTF--
%AWarning: session_start(): session %x is held by process %d for %d ms now (%d waiting): the wait was ended by the time limit or a signal in %a
bool(false)
soon
