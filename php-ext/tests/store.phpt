--TEST--
holdfast.store goes before session.save_path
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('store');
remove_store('store_other');
mkdir(store_path('store_other'), 0700);
$code = 'echo holdfast_status()["store"], "\n";';
foreach ([store_path('store'), store_path('store_other')] as $store) {
    echo (new Child($code, ['holdfast.store' => $store]))->end(), "\n";
}
echo (new Child($code))->end(), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('store');
remove_store('store_other');
?>
--EXPECTF--
%s/holdfast-phpt-store
%s/holdfast-phpt-store_other
%s/holdfast-phpt-store
