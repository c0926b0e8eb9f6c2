--TEST--
A store outside open_basedir is refused, also if it is open already
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('open_basedir');
visit('inside', fn() => $_SESSION['n'] = 1);
ini_set('open_basedir', __DIR__);
session_id('inside');
var_dump(session_start());
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('open_basedir');
?>
--EXPECTF--
Warning: session_start(): %sholdfast-phpt-open_basedir is outside open_basedir (%s) in %s on line %d

Warning: session_start(): Failed to initialize storage module: holdfast (path: %s) in %s on line %d
bool(false)
