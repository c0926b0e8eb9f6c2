--TEST--
holdfast.max_waiters turns away those who would wait in too long a queue
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('max_waiters');
$holder = hold('busy');
$waiter = new Child('session_id("busy"); session_start(); echo "got it\n";');
usleep(300000);
ini_set('holdfast.max_waiters', '1');
session_id('busy');
$ms = stopwatch(fn() => var_dump(session_start()));
echo $ms < 200 ? "at once\n" : "after $ms ms\n";
$holder->say('go on');
echo $waiter->hear(), "\n";
$holder->end();
$waiter->end();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('max_waiters');
?>
--EXPECTF--
Warning: session_start(): session %x is held by process %d for %d ms now (%d waiting): not queued, because of holdfast.max_waiters = 1 in %s on line %d

Warning: session_start(): Failed to read session data: holdfast (path: %s) in %s on line %d
bool(false)
at once
got it
