--TEST--
Through a SessionHandler, as frameworks use it, an equal write is only a touch
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('handler_object');
class Wrapped extends SessionHandler
{
    public function write(string $id, string $data): bool
    {
        echo "write\n";
        return parent::write($id, $data);
    }
}
session_set_save_handler(new Wrapped(), false);
count_changes('new', fn() => visit('wrapped', fn() => $_SESSION['n'] = 1));
count_changes('unchanged', fn() => visit('wrapped'));
count_changes('changed', fn() => visit('wrapped', fn() => $_SESSION['n'] = 2));
count_changes('changed and changed back', fn() => visit('wrapped', function () {
    $_SESSION['n'] = 3;
    $_SESSION['n'] = 2;
}));
session_id('wrapped');
session_start();
session_reset();
echo count(holdfast_locks()), ' lock, ', json_encode($_SESSION), "\n";
session_regenerate_id(true);
session_write_close();
echo json_encode(visit('wrapped')), ' ', count(holdfast_locks()), " locks\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('handler_object');
?>
--EXPECT--
write
new: sets 1 touches 0 deletes 0
write
unchanged: sets 0 touches 1 deletes 0
write
changed: sets 1 touches 0 deletes 0
write
changed and changed back: sets 0 touches 1 deletes 0
1 lock, {"n":2}
write
write
[] 0 locks
