--TEST--
holdfast.first_lifetime_s gives a session less time until it is seen again
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('first_lifetime_s');
ini_set('holdfast.first_lifetime_s', '1');
visit('once', fn() => $_SESSION['n'] = 1);
visit('twice', fn() => $_SESSION['n'] = 1);
visit('twice');
usleep(1300000);
echo json_encode([peek('once'), peek('twice')]), "\n";
ini_set('session.gc_maxlifetime', '1');
ini_set('holdfast.first_lifetime_s', '100');
visit('capped', fn() => $_SESSION['n'] = 1);
usleep(1300000);
echo json_encode(peek('capped')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('first_lifetime_s');
?>
--EXPECT--
[[],{"n":1}]
[]
