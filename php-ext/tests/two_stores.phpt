--TEST--
One process can use two stores by turns
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
$one = use_store('two_stores');
remove_store('two_stores_other');
$two = store_path('two_stores_other');
mkdir($two, 0700);
foreach ([1, 2, 3] as $turn) {
    foreach ([$one, $two] as $path) {
        ini_set('session.save_path', $path);
        visit('same', fn() => $_SESSION[basename($path)] = $turn);
    }
}
foreach ([$one, $two, "$one/../" . basename($one)] as $path) {
    ini_set('session.save_path', $path);
    echo json_encode(peek('same')), "\n";
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('two_stores');
remove_store('two_stores_other');
?>
--EXPECT--
{"holdfast-phpt-two_stores":3}
{"holdfast-phpt-two_stores_other":3}
{"holdfast-phpt-two_stores":3}
