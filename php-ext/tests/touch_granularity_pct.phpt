--TEST--
holdfast.touch_granularity_pct spares touches while little of the lifetime has passed
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('touch_granularity_pct');
ini_set('session.gc_maxlifetime', '2');
visit('fresh', fn() => $_SESSION['n'] = 1);
count_changes('0 percent', fn() => visit('fresh'));
ini_set('holdfast.touch_granularity_pct', '40');
count_changes('40 percent, at once', fn() => visit('fresh'));
usleep(1100000);
count_changes('40 percent, later', fn() => visit('fresh'));
echo json_encode(peek('fresh')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('touch_granularity_pct');
?>
--EXPECT--
0 percent: sets 0 touches 1 deletes 0
40 percent, at once: sets 0 touches 0 deletes 0
40 percent, later: sets 0 touches 1 deletes 0
{"n":1}
