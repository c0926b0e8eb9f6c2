--TEST--
holdfast.skip_empty_new does not store new sessions that stayed empty
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('skip_empty_new');
count_changes('off', fn() => visit('first'));
ini_set('holdfast.skip_empty_new', '1');
count_changes('on', fn() => visit('second'));
count_changes('on, with data', fn() => visit('second', fn() => $_SESSION['n'] = 1));
count_changes('on, emptied', fn() => visit('second', fn() => $_SESSION = []));
ini_set('session.lazy_write', '0');
count_changes('on, not lazy', fn() => visit('third'));
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('skip_empty_new');
?>
--EXPECT--
off: sets 1 touches 0 deletes 0
on: sets 0 touches 0 deletes 0
on, with data: sets 1 touches 0 deletes 0
on, emptied: sets 1 touches 0 deletes 0
on, not lazy: sets 0 touches 0 deletes 0
