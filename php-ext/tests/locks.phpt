--TEST--
holdfast_locks() lists who holds what, up to a limit, without ids
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('locks');
$children = array_map(fn($id) => hold($id), ['secret1', 'secret2', 'secret3']);
$locks = holdfast_locks();
echo count($locks), ' ', count(holdfast_locks(2)), "\n";
$pids = array_map(fn($child) => $child->pid(), $children);
echo array_diff($pids, array_column($locks, 'pid')) ? "?\n" : "by their process ids\n";
var_dump($locks[0]);
echo str_contains(json_encode($locks), 'secret') ? "ids shown\n" : "no ids\n";
try {
    holdfast_locks(0);
} catch (ValueError $error) {
    echo $error->getMessage(), "\n";
}
array_map(fn($child) => $child->kill(), $children);
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('locks');
?>
--EXPECTF--
3 2
by their process ids
array(6) {
  ["session"]=>
  string(8) "%x"
  ["pid"]=>
  int(%d)
  ["age_ms"]=>
  int(%d)
  ["lease_ms"]=>
  int(3600000)
  ["waiters"]=>
  int(0)
  ["alive"]=>
  bool(true)
}
no ids
holdfast_locks(): Argument #1 ($limit) must be between 1 and 10000
