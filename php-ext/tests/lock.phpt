--TEST--
holdfast.lock=0 reads and writes without waiting for anybody
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('lock');
visit('shared', fn() => $_SESSION['n'] = 1);
$child = hold('shared');
ini_set('holdfast.lock', '0');
$ms = stopwatch(fn() => visit('shared', fn() => $_SESSION['n'] = 2));
echo $ms < 200 ? "at once\n" : "after $ms ms\n";
echo json_encode(peek('shared')), "\n";
echo count(holdfast_locks()), " lock, that of the child\n";
$child->kill();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('lock');
?>
--EXPECT--
at once
{"n":2}
1 lock, that of the child
