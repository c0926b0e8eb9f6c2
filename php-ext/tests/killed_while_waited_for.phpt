--TEST--
A request that waits for a session gets it as soon as its holder is killed
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('killed_while_waited_for');
visit('killed', fn() => $_SESSION['n'] = 1);
$child = hold('killed', [], '$_SESSION["n"] = 99;');
$waiter = new Child('session_id("killed"); session_start(); echo json_encode($_SESSION), "\n";');
usleep(300000);
echo holdfast_locks()[0]['waiters'], " waits\n";
$ms = stopwatch(function () use ($child, $waiter) {
    $child->kill();
    echo $waiter->hear(), "\n";
});
echo $ms < 1000 ? "at once\n" : "after $ms ms\n";
$waiter->end();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('killed_while_waited_for');
?>
--EXPECT--
1 waits
{"n":1}
at once
