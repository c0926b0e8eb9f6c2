--TEST--
A directory that cannot be written to is refused with the reason
--EXTENSIONS--
holdfast
--SKIPIF--
<?php
if (!is_executable('/usr/bin/setpriv')) die('skip needs setpriv');
?>
--FILE--
<?php
require __DIR__ . '/store.inc';
$path = use_store('unwritable_directory');
chmod($path, 0500);
$wrapper = [];
if (fileowner($path) === 0) {
    // Root may write anywhere, so somebody else has to try.
    chown($path, 65534);
    chgrp($path, 65534);
    $wrapper = ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
}
$child = new Child('var_dump(session_start());', [], $wrapper);
echo $child->end(), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('unwritable_directory');
?>
--EXPECTF--
Warning: session_start(): %s

Warning: session_start(): Failed to initialize storage module: holdfast (path: %s) in %s on line %d
bool(false)
