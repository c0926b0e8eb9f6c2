--TEST--
session.auto_start works, though it begins before the extension sees the request
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('auto_start');
$settings = ['session.auto_start' => '1'];
foreach ([1, 2] as $visit) {
    $child = new Child('echo session_status(), " ", $_SESSION["n"] = 1, "\n";', $settings);
    echo $child->end(), "\n";
}
echo holdfast_status()['keys'], " sessions\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('auto_start');
?>
--EXPECT--
2 1
2 1
2 sessions
