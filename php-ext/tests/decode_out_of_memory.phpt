--TEST--
When the memory limit strikes while PHP decodes, PHP destroys that session and no other
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('decode_out_of_memory');
visit('big', fn() => $_SESSION['list'] = range(1, 60000));
visit('other', fn() => $_SESSION['n'] = 1);
$child = new Child('
    session_id("big");
    ini_set("memory_limit", "3M");
    session_start();
    echo "started\n";
');
echo $child->end(), "\n";
echo json_encode([peek('big'), peek('other')]), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('decode_out_of_memory');
?>
--EXPECTF--
%AFatal error: Allowed memory size of %d bytes exhausted%a
[[],{"n":1}]
