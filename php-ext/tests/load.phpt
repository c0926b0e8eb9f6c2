--TEST--
The extension is loaded, says what it was built for, and opens nothing by itself
--EXTENSIONS--
holdfast
--INI--
holdfast.store=/nowhere/at/all
--FILE--
<?php
require __DIR__ . '/store.inc';
ob_start();
phpinfo(INFO_MODULES);
preg_match('/^holdfast\n.*?(?=^Directive)/ms', ob_get_clean(), $table);
echo $table[0];
?>
--EXPECTF--
holdfast

Holdfast sessions => enabled
Extension version => %d.%d.%d
Library version (headers) => %d.%d.%d
Library version (loaded) => %d.%d.%s
Library ABI => 1
Store => /nowhere/at/all
Persistent => not known
