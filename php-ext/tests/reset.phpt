--TEST--
session_reset() reads again under the lock that it has
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('reset');
visit('reset', fn() => $_SESSION['n'] = 1);
session_id('reset');
session_start();
$_SESSION['n'] = 99;
$ms = stopwatch('session_reset');
echo $_SESSION['n'], $ms < 500 ? " at once\n" : " after $ms ms\n";
echo count(holdfast_locks()), " lock\n";
$_SESSION['n']++;
session_write_close();
echo peek('reset')['n'], "\n";
echo count(holdfast_locks()), " locks\n";

echo "new in strict mode, never stored:\n";
ini_set('session.use_strict_mode', '1');
session_start();
session_reset();
echo count(holdfast_locks()), " lock\n";
session_write_close();
echo count(holdfast_locks()), " locks\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('reset');
?>
--EXPECT--
1 at once
1 lock
2
0 locks
new in strict mode, never stored:
1 lock
0 locks
