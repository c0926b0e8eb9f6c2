--TEST--
When the memory limit strikes inside a read, the stored session survives
--EXTENSIONS--
holdfast
--INI--
holdfast.max_session_bytes=4M
memory_limit=128M
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('read_out_of_memory');
visit('big', fn() => $_SESSION['text'] = str_repeat('x', 3900000));
// PHP versions differ in whether the request's end, with its write, still takes place after this.
$child = new Child('
    session_id("big");
    ini_set("memory_limit", "2M");
    session_start();
    echo "started\n";
', ['holdfast.max_session_bytes' => '4M']);
echo $child->end(), "\n";
echo strlen(peek('big')['text'] ?? ''), " bytes are still there\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('read_out_of_memory');
?>
--EXPECTF--
%Aemory %s bytes exhausted (tried to allocate 39%d bytes)%A
3900000 bytes are still there
