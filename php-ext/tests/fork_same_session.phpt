--TEST--
A parent and its forked child take turns in the same session
--EXTENSIONS--
holdfast
--SKIPIF--
<?php
if (!function_exists('pcntl_fork')) die('skip needs pcntl');
?>
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('fork_same_session');
visit('count', fn() => $_SESSION['n'] = 0);
function count_up(): void
{
    for ($i = 0; $i < 200; $i++) {
        visit('count', fn() => $_SESSION['n']++);
    }
}
$child = pcntl_fork();
count_up();
if ($child === 0) {
    exit(0);
}
pcntl_waitpid($child, $status);
echo visit('count')['n'], "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('fork_same_session');
?>
--EXPECT--
400
