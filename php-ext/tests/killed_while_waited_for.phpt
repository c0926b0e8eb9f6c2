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
await_waiters(1);
$ms = stopwatch(function () use ($child, $waiter) {
    $child->kill();
    echo $waiter->hear(), "\n";
});
echo $ms < 1000 * SLOWNESS ? "at once\n" : "after $ms ms\n";
$waiter->end();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('killed_while_waited_for');
?>
--EXPECT--
{"n":1}
at once
