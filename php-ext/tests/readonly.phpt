--TEST--
holdfast.readonly=1 reads without a lock and refuses changes
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('readonly');
visit('busy', fn() => $_SESSION['n'] = 1);
$child = hold('busy');
ini_set('holdfast.readonly', '1');
$ms = stopwatch(function () { echo json_encode(visit('busy')), "\n"; });
echo $ms < 200 ? "at once\n" : "after $ms ms\n";
session_id('busy');
session_start();
$_SESSION['n'] = 2;
@session_write_close();
echo holdfast_status()['last_error'], "\n";
count_changes('a new session that stays empty', fn() => visit('nobody'));
$child->kill();
ini_set('holdfast.readonly', '0');
echo json_encode(visit('busy')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('readonly');
?>
--EXPECTF--
{"n":1}
at once
session %x was opened without its lock, to be read only (holdfast.readonly or holdfast.lock_failure); the changes are not stored
a new session that stays empty: sets 0 touches 0 deletes 0
{"n":1}
