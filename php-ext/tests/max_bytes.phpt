--TEST--
holdfast.max_bytes bounds a new store; what does not fit is refused and what is stored stays
--EXTENSIONS--
holdfast
--INI--
holdfast.max_bytes=8M
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('max_bytes');
visit('first', fn() => $_SESSION['n'] = 1);
echo holdfast_status()['max_bytes'], " bytes\n";
for ($i = 0; $i < 20 && !str_contains(ob_get_contents(), 'Warning'); $i++) {
    visit("big$i", fn() => $_SESSION['text'] = str_repeat('x', 900000));
}
echo $i > 2 && $i < 10 ? "full in time\n" : "after $i sessions\n";
echo json_encode(visit('first')), ' ', strlen(visit('big0')['text']), ' ', count(holdfast_locks()), "\n";

echo "who opens it later asks in vain for more: ";
$code = 'visit("first"); echo json_encode([holdfast_status()["max_bytes"], holdfast_status()["options_differ"]]);';
echo (new Child($code, ['holdfast.max_bytes' => '64M']))->end(), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('max_bytes');
?>
--EXPECTF--
8388608 bytes

Warning: session_write_close(): session %x could not be written: %s in %s on line %d

Warning: session_write_close(): Failed to write session data (holdfast). %s
full in time
{"n":1} 900000 0
who opens it later asks in vain for more: [8388608,true]
