--TEST--
A holder that exceeds holdfast.lock_lease_ms loses the session to a waiter, and is told
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('lock_lease_ms');
visit('leased', fn() => $_SESSION['n'] = 1);
$child = new Child('
    session_id("leased");
    session_start();
    $_SESSION["n"] = 99;
    echo "held\n";
    fgets(STDIN);
    session_write_close();
    echo "closed\n";
', ['holdfast.lock_lease_ms' => '200']);
$child->hear();
echo holdfast_locks()[0]['lease_ms'], " ms\n";
$ms = stopwatch(fn() => visit('leased', fn() => $_SESSION['n'] = 2));
echo $ms < 3000 ? "broken\n" : "after $ms ms\n";
$child->say('write');
echo $child->end(), "\n";
echo json_encode(peek('leased')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('lock_lease_ms');
?>
--EXPECTF--
200 ms
broken
Warning: session_write_close(): session %x was locked for longer than holdfast.lock_lease_ms and another request broke the lock; nothing more is written in %a

Warning: session_write_close(): Failed to write session data (holdfast). %a
closed
{"n":2}
