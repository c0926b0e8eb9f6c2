--TEST--
holdfast.regenerate_grace_s keeps the old id readable for a while after session_regenerate_id(true)
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('regenerate_grace_s');
ini_set('holdfast.regenerate_grace_s', '1');
function regenerate(string $id): string
{
    session_id($id);
    session_start();
    $_SESSION['n']++;
    session_regenerate_id(true);
    session_write_close();
    return session_id();
}
visit('old', fn() => $_SESSION['n'] = 1);
$new = regenerate('old');
ini_set('session.use_strict_mode', '1');
echo json_encode([visit('old'), visit($new)]), "\n";
ini_set('session.use_strict_mode', '0');
echo json_encode(@visit('old', fn() => $_SESSION['n'] = 99)), "\n";
echo holdfast_status()['last_error'], "\n";
usleep(1300000);
echo json_encode([peek('old'), peek($new)]), "\n";

echo "session_destroy() knows no grace:\n";
session_id($new);
session_start();
session_destroy();
echo json_encode(peek($new)), "\n";

echo "through a handler object:\n";
class Wrapped extends SessionHandler
{
    public function destroy(string $id): bool { return parent::destroy($id); }
}
session_set_save_handler(new Wrapped(), false);
visit('old', fn() => $_SESSION['n'] = 1);
$new = regenerate('old');
echo json_encode([visit('old'), visit($new)]), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('regenerate_grace_s');
?>
--EXPECTF--
[{"n":1},{"n":2}]
{"n":1}
session %x has been replaced by session_regenerate_id() and can only be read until its time of grace ends; the changes are not stored
[[],{"n":2}]
session_destroy() knows no grace:
[]
through a handler object:
[{"n":1},{"n":2}]
