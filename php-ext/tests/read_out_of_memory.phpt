--TEST--
When the memory limit strikes inside a read, the stored session survives
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('read_out_of_memory');
visit('big', fn() => $_SESSION['text'] = str_repeat('x', 900000));
// The limit is where the heap stands, so that the next large allocation, the read's, exceeds it.
$child = new Child('
    register_shutdown_function(function () { echo "status ", session_status(), "\n"; });
    session_id("big");
    ini_set("memory_limit", (string) (memory_get_usage(true) + 4096));
    session_start();
    echo "started\n";
');
echo $child->end(), "\n";
echo strlen(peek('big')['text'] ?? ''), " bytes are still there\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('read_out_of_memory');
?>
--EXPECTF--
Fatal error: Allowed memory size of %d bytes exhausted%s(tried to allocate 9%d bytes)%a
status 2

Warning: %ssession %x was not read to its end, so what PHP would write now is not the session; the stored data stays as it is in %a
900000 bytes are still there
