--TEST--
holdfast.lock_wait_ms bounds the wait, and the warning says who holds the session
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('lock_wait_ms');
$child = hold('busy');
ini_set('holdfast.lock_wait_ms', '300');
session_id('busy');
$ms = stopwatch(fn() => var_dump(session_start()));
echo $ms >= 290 && $ms < 2000 ? "in time\n" : "after $ms ms\n";
echo str_contains(ob_get_contents(), "by process {$child->pid()} ") ? "the holder is named\n" : "?\n";

ini_set('holdfast.lock_wait_ms', '0');
session_id('busy');
$ms = stopwatch(fn() => var_dump(@session_start()));
echo $ms < 100 ? "at once\n" : "after $ms ms\n";

ini_set('holdfast.lock_wait_ms', '-1');
$child->say('go on');
session_id('busy');
var_dump(session_start());
$child->end();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('lock_wait_ms');
?>
--EXPECTF--
Warning: session_start(): session %x is held by process %d for %d ms now (%d waiting): gave up after holdfast.lock_wait_ms = 300 in %s on line %d

Warning: session_start(): Failed to read session data: holdfast (path: %s) in %s on line %d
bool(false)
in time
the holder is named
bool(false)
at once
bool(true)
