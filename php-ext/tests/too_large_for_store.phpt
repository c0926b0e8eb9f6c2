--TEST--
A session beyond the store's own limit is refused with the reason, and the old data stays
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('too_large_for_store');
visit('big', fn() => $_SESSION['n'] = 1);
visit('big', fn() => $_SESSION['text'] = str_repeat('x', 3000000));
echo json_encode(peek('big')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('too_large_for_store');
?>
--EXPECTF--
Warning: session_write_close(): session %x could not be written: %s in %s on line %d

Warning: session_write_close(): Failed to write session data (holdfast). %s
{"n":1}
