--TEST--
holdfast.sync decides how a new store is synced
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('sync');
$code = 'visit("one"); echo holdfast_status()["sync"], "\n";';
foreach (['none', 'periodic', 'always', ''] as $sync) {
    ini_set('session.save_path', store_path('sync') . "/$sync-store");
    mkdir(ini_get('session.save_path'), 0700);
    echo "'$sync': ", (new Child($code, ['holdfast.sync' => $sync]))->end(), "\n";
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('sync');
?>
--EXPECT--
'none': none
'periodic': periodic
'always': always
'': periodic
