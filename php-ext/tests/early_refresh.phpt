--TEST--
holdfast.early_refresh lets read_and_close renew the lifetime
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('early_refresh');
visit('early', fn() => $_SESSION['n'] = 1);
$look = function () {
    session_id('early');
    session_start(['read_and_close' => true]);
};
count_changes('off', $look);
ini_set('holdfast.early_refresh', '1');
count_changes('on', $look);
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('early_refresh');
?>
--EXPECT--
off: sets 0 touches 0 deletes 0
on: sets 0 touches 1 deletes 0
