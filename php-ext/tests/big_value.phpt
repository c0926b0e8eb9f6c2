--TEST--
A store that is made with holdfast.max_session_bytes takes sessions of that size
--EXTENSIONS--
holdfast
--INI--
holdfast.max_session_bytes=4M
memory_limit=128M
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('big_value');
$text = random_bytes(3000000);
visit('big', fn() => $_SESSION['text'] = $text);
echo visit('big')['text'] === $text ? "3 MB came back\n" : "lost\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('big_value');
?>
--EXPECT--
3 MB came back
