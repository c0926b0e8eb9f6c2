--TEST--
session_abort() stores nothing and gives the lock back
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('abort');
visit('abort', fn() => $_SESSION['n'] = 1);
session_id('abort');
session_start();
$_SESSION['n'] = 99;
count_changes('abort', 'session_abort');
echo count(holdfast_locks()), " locks\n";
echo peek('abort')['n'], "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('abort');
?>
--EXPECT--
abort: sets 0 touches 0 deletes 0
0 locks
1
