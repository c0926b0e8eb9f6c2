--TEST--
A directory that anybody can write to is refused
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
$path = use_store('world_writable_directory');
chmod($path, 01777);
var_dump(session_start());
echo count(scandir($path)) - 2, " files\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('world_writable_directory');
?>
--EXPECTF--
Warning: session_start(): %s

Warning: session_start(): Failed to initialize storage module: holdfast (path: %s) in %s on line %d
bool(false)
0 files
