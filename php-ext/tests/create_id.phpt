--TEST--
session_create_id() in an open session leaves no record behind
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('create_id');
session_start();
$keys = holdfast_status()['keys'];
$ids = array_map(fn() => session_create_id('p-'), range(1, 20));
echo count(array_unique($ids)), ' ids, ', holdfast_status()['keys'] - $keys, " records\n";
session_write_close();

echo 'a handler object may ask without having opened its parent: ';
class Unopened extends SessionHandler
{
    public function open(string $path, string $name): bool { return true; }
    public function close(): bool { return true; }
    public function read(string $id): string { return ''; }
    public function write(string $id, string $data): bool { return true; }
}
session_set_save_handler(new Unopened(), false);
session_id('');
session_start();
echo strlen(session_id()) >= 22 ? "an id\n" : "none\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('create_id');
?>
--EXPECT--
20 ids, 0 records
a handler object may ask without having opened its parent: an id
