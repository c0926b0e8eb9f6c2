--TEST--
Where there is no directory, the warning has the command that makes one
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
$path = use_store('missing_directory');
rmdir($path);
var_dump(session_start());
echo is_dir($path) ? "made\n" : "not made\n";
touch($path);
var_dump(@session_start());
echo holdfast_status()['last_error'], "\n";
unlink($path);
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('missing_directory');
?>
--EXPECTF--
Warning: session_start(): there is no directory %s/holdfast-phpt-missing_directory. Make it once, as root: install -d -m 0700 -o %s -g %s %s/holdfast-phpt-missing_directory in %s on line %d

Warning: session_start(): Failed to initialize storage module: holdfast (path: %s) in %s on line %d
bool(false)
not made
bool(false)
%s/holdfast-phpt-missing_directory is not a directory
