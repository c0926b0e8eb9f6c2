--TEST--
holdfast.max_session_bytes refuses to write or read larger sessions, and keeps what is stored
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('max_session_bytes');
visit('large', fn() => $_SESSION['text'] = 'small');
ini_set('holdfast.max_session_bytes', '10K');
visit('large', fn() => $_SESSION['text'] = str_repeat('x', 20000));
echo json_encode(peek('large')), "\n";
ini_set('holdfast.max_session_bytes', '0');
visit('large', fn() => $_SESSION['text'] = str_repeat('x', 20000));
ini_set('holdfast.max_session_bytes', '10K');
session_id('large');
var_dump(session_start());
ini_set('holdfast.max_session_bytes', '0');
echo strlen(visit('large')['text']), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('max_session_bytes');
?>
--EXPECTF--
Warning: session_write_close(): session %x has %d bytes, more than holdfast.max_session_bytes = 10240 in %s on line %d

Warning: session_write_close(): Failed to write session data (holdfast). %s
{"text":"small"}

Warning: session_start(): session %x has %d bytes, more than holdfast.max_session_bytes = 10240 in %s on line %d

Warning: session_start(): Failed to read session data: holdfast (path: %s) in %s on line %d
bool(false)
20000
