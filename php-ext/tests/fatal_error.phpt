--TEST--
A request that dies of a fatal error has its session saved, as with the files handler
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('fatal_error');
visit('fatal', fn() => $_SESSION['n'] = 1);
$ends = ['nonsense();', 'throw new Exception("x");', 'exit(3);',
    'ini_set("memory_limit", "8M"); str_repeat("x", 90000000);'];
foreach ($ends as $end) {
    (new Child("session_id('fatal'); session_start(); \$_SESSION['n']++; $end"))->end();
    echo json_encode(visit('fatal')), "\n";
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('fatal_error');
?>
--EXPECT--
{"n":2}
{"n":3}
{"n":4}
{"n":5}
