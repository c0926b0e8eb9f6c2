--TEST--
holdfast_status() answers with counters, and with the reason when the store cannot be opened
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
$path = use_store('status');
visit('counted', fn() => $_SESSION['n'] = 1);
$status = holdfast_status();
echo $status['store'] === realpath($path) ? "the store\n" : "?\n";
echo $status['keys'], ' key, ', $status['sets'], ' set, error ', json_encode($status['error']), "\n";
foreach ($status as $name => $value) {
    is_scalar($value) or print("$name is not a plain value\n");
}
ini_set('session.save_path', "$path/nowhere");
$status = holdfast_status();
echo $status['error'], "\n", isset($status['keys']) ? "?\n" : "no counters\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('status');
?>
--EXPECTF--
the store
1 key, 1 set, error ""
there is no directory %s/nowhere. Make it once, as root: install -d -m 0700 -o %s -g %s %s/nowhere
no counters
