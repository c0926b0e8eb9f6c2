--TEST--
The session of a killed process is free at once, with what was last stored
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('killed_holder');
visit('killed', fn() => $_SESSION['n'] = 1);
$child = hold('killed', [], '$_SESSION["n"] = 99;');
echo count(holdfast_locks()), " lock\n";
$child->kill();
session_id('killed');
$ms = stopwatch('session_start');
echo json_encode($_SESSION), $ms < 200 ? " at once\n" : " after $ms ms\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('killed_holder');
?>
--EXPECT--
1 lock
{"n":1} at once
