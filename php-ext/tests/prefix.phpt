--TEST--
holdfast.prefix separates the sessions of two applications, and stays while a session is open
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('prefix');
visit('same', fn() => $_SESSION['app'] = 'one');
ini_set('holdfast.prefix', 'second.');
echo json_encode(visit('same', fn() => $_SESSION['app'] = 'two')), "\n";
echo json_encode(peek('same')), "\n";
ini_set('holdfast.prefix', 'memc.sess.key.');
session_id('same');
session_start();
$_SESSION['app'] .= ' and only';
ini_set('holdfast.prefix', 'second.');
session_write_close();
echo json_encode(peek('same')), ' ', count(holdfast_locks()), " locks\n";
ini_set('holdfast.prefix', 'memc.sess.key.');
echo json_encode(peek('same')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('prefix');
?>
--EXPECT--
[]
{"app":"two"}
{"app":"two"} 0 locks
{"app":"one and only"}
