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
    // Root may write anywhere, unless it gives that right up. Another user would not do: these
    // files may lie below a directory that is closed to everybody else.
    $wrapper = ['/usr/bin/setpriv', '--bounding-set=-dac_override,-dac_read_search'];
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
