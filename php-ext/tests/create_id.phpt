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

echo 'a handler object may ask before it is open: ';
$handler = new SessionHandler();
session_set_save_handler($handler, false);
echo strlen($handler->create_sid()) >= 22 ? "an id\n" : "none\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('create_id');
?>
--EXPECT--
20 ids, 0 records
a handler object may ask before it is open: an id
