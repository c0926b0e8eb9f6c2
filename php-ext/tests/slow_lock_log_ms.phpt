--TEST--
holdfast.slow_lock_log_ms leaves a notice about a wait that was long
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('slow_lock_log_ms');
foreach (['0', '10000', '100'] as $limit) {
    ini_set('holdfast.slow_lock_log_ms', $limit);
    echo "$limit:\n";
    $child = new Child('session_id("slow"); session_start(); echo "held\n"; usleep(300000);');
    $child->hear();
    visit('slow');
    $child->end();
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('slow_lock_log_ms');
?>
--EXPECTF--
0:
10000:
100:

Notice: session_start(): session %x was waited for %d ms; process %d held it, for %d ms when the wait began in %s on line %d
