--TEST--
When a handler object hides a failed read, the empty session is not written over the real one
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('failed_read');
class Hiding extends SessionHandler
{
    public function read(string $id): string
    {
        return @parent::read($id) ?: '';
    }
}
visit('real', fn() => $_SESSION['text'] = str_repeat('x', 200));
session_set_save_handler(new Hiding(), false);
ini_set('holdfast.max_session_bytes', '100');
visit('real', fn() => $_SESSION['n'] = 1);
ini_set('holdfast.max_session_bytes', '0');
$child = hold('real');
ini_set('holdfast.lock_wait_ms', '10');
visit('real');
$child->kill();
echo strlen(visit('real')['text']), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('failed_read');
?>
--EXPECTF--
Warning: SessionHandler::write(): session %x was not read to its end, so what PHP would write now is not the session; the stored data stays as it is in %s on line %d

Warning: session_write_close(): Failed to write session data using user defined save handler. %s

Warning: SessionHandler::write(): session %x was not read to its end, so what PHP would write now is not the session; the stored data stays as it is in %s on line %d

Warning: session_write_close(): Failed to write session data using user defined save handler. %s
200
