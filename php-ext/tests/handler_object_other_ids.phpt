--TEST--
A handler object may write and destroy sessions other than the open one
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('handler_object_other_ids');
class Wrapped extends SessionHandler {}
$handler = new Wrapped();
session_set_save_handler($handler, false);
visit('other', fn() => $_SESSION['n'] = 1);
visit('mine', fn() => $_SESSION['n'] = 1);

session_id('mine');
session_start();
var_dump($handler->destroy('other'));
echo count(holdfast_locks()), " lock\n";
$_SESSION['n'] = 2;
session_write_close();
echo json_encode([peek('mine'), peek('other')]), "\n";

echo "written without having been read:\n";
session_id('mine');
session_start();
var_dump($handler->write('unread', 'n|i:5;'));
echo count(holdfast_locks()), " lock\n";
session_abort();
echo json_encode(peek('unread')), ' ', count(holdfast_locks()), " locks\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('handler_object_other_ids');
?>
--EXPECT--
bool(true)
1 lock
[{"n":2},[]]
written without having been read:
bool(true)
1 lock
{"n":5} 0 locks
