--TEST--
A warning that an error handler turns into an exception leaves no lock behind
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('error_handler_throws');
visit('thrown', fn() => $_SESSION['text'] = str_repeat('x', 2000));
set_error_handler(function ($severity, $message) { throw new ErrorException($message); });
ini_set('holdfast.max_session_bytes', '100');
session_id('thrown');
$write = fn() => visit('small', fn() => $_SESSION['text'] = str_repeat('y', 200));
foreach (['session_start', $write] as $work) {
    try {
        $work();
    } catch (ErrorException $error) {
        echo $error->getMessage(), "\n";
    }
    echo session_status() === PHP_SESSION_NONE ? 'closed, ' : 'open, ', count(holdfast_locks()), " locks\n";
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('error_handler_throws');
?>
--EXPECTF--
session_start(): session %x has %d bytes, more than holdfast.max_session_bytes = 100
closed, 0 locks
session_write_close(): session %x has %d bytes, more than holdfast.max_session_bytes = 100
closed, 0 locks
