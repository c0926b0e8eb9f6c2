--TEST--
holdfast.lock_failure=readonly reads a snapshot when the lock cannot be had, and refuses changes
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('lock_failure');
visit('busy', fn() => $_SESSION['n'] = 1);
$child = hold('busy');
ini_set('holdfast.lock_wait_ms', '50');
ini_set('holdfast.lock_failure', 'readonly');
echo json_encode(visit('busy')), "\n";
session_id('busy');
session_start();
$_SESSION['n'] = 2;
session_write_close();
session_start();
var_dump(session_destroy());
$child->say('go on');
$child->end();
echo json_encode(visit('busy', fn() => $_SESSION['n'] = 3)), "\n";
echo json_encode(visit('busy')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('lock_failure');
?>
--EXPECTF--
{"n":1}

Warning: session_write_close(): session %x was opened without its lock, to be read only (holdfast.readonly or holdfast.lock_failure); the changes are not stored in %s on line %d

Warning: session_write_close(): Failed to write session data (holdfast). %s

Warning: session_destroy(): session %x was opened without its lock, to be read only (holdfast.readonly or holdfast.lock_failure), and is not destroyed in %s on line %d

Warning: session_destroy(): Session object destruction failed in %s on line %d
bool(false)
{"n":1}
{"n":3}
