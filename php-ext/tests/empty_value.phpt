--TEST--
A session that is emptied is empty, and still exists
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('empty_value');
visit('empty', fn() => $_SESSION['n'] = 1);
visit('empty', fn() => $_SESSION = []);
echo json_encode(visit('empty')), "\n";
count_changes('unchanged', fn() => visit('empty'));
ini_set('session.use_strict_mode', '1');
session_id('empty');
session_start();
echo session_id(), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('empty_value');
?>
--EXPECT--
[]
unchanged: sets 0 touches 1 deletes 0
empty
