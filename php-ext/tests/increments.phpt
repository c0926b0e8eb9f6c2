--TEST--
Several processes that count in one session lose no step
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('increments');
$code = 'for ($i = 0; $i < 200; $i++) {
    visit("count", fn() => $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1);
}';
$children = [];
for ($i = 0; $i < 4; $i++) {
    $children[] = new Child($code);
}
foreach ($children as $child) {
    echo $child->end();
}
echo visit('count')['n'], "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('increments');
?>
--EXPECT--
800
