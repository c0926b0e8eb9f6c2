--TEST--
A forked child cannot write its parent's session, nor free its lock
--EXTENSIONS--
holdfast
--SKIPIF--
<?php
if (!function_exists('pcntl_fork')) die('skip needs pcntl');
?>
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('fork');
visit('fork', fn() => $_SESSION['n'] = 1);
session_id('fork');
session_start();
$_SESSION['n'] = 2;
ini_set('holdfast.lock_wait_ms', '100');
ob_end_clean();
if (($child = pcntl_fork()) === 0) {
    ob_start();
    $_SESSION['n'] = 77;
    session_write_close();
    echo "child starts again:\n";
    var_dump(session_start());
    exit(0);
}
pcntl_waitpid($child, $status);
ob_start();
echo 'parent: ', count(holdfast_locks()), " lock\n";
session_write_close();
echo json_encode(visit('fork')), "\n";

echo "a child that changes nothing says nothing:\n";
session_start();
ob_flush();
if (($child = pcntl_fork()) === 0) {
    exit(0);
}
pcntl_waitpid($child, $status);
echo 'parent: ', count(holdfast_locks()), " lock\n";
$_SESSION['n']++;
session_write_close();

echo "a child may use the store by itself:\n";
ob_flush();
if (($child = pcntl_fork()) === 0) {
    visit('fork', fn() => $_SESSION['n']++);
    exit(0);
}
pcntl_waitpid($child, $status);
echo json_encode(visit('fork')), ' ', count(holdfast_locks()), " locks\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('fork');
?>
--EXPECTF--
Warning: session_write_close(): session %x was opened by the parent of this process, which alone may write it; nothing was written here in %s on line %d

Warning: session_write_close(): Failed to write session data (holdfast). %s
child starts again:

Warning: session_start(): session %x is held by process %d for %d ms now (%d waiting): gave up after holdfast.lock_wait_ms = 100 in %s on line %d

Warning: session_start(): Failed to read session data: holdfast (path: %s) in %s on line %d
bool(false)
parent: 1 lock
{"n":2}
a child that changes nothing says nothing:
parent: 1 lock
a child may use the store by itself:
{"n":4} 0 locks
