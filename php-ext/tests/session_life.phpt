--TEST--
A session is written when it changed, touched when it did not, and left alone by read_and_close
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('session_life');
count_changes('new', fn() => visit('life', fn() => $_SESSION['n'] = 1));
count_changes('unchanged', fn() => visit('life'));
count_changes('changed', fn() => visit('life', fn() => $_SESSION['n']++));
count_changes('read_and_close', function () {
    session_id('life');
    session_start(['read_and_close' => true]);
    echo json_encode($_SESSION), "\n";
});
ini_set('session.lazy_write', '0');
count_changes('unchanged, not lazy', fn() => visit('life'));
count_changes('destroyed', function () {
    session_id('life');
    session_start();
    session_destroy();
});
echo json_encode(visit('life')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('session_life');
?>
--EXPECT--
new: sets 1 touches 0 deletes 0
unchanged: sets 0 touches 1 deletes 0
changed: sets 1 touches 0 deletes 0
{"n":2}
read_and_close: sets 0 touches 0 deletes 0
unchanged, not lazy: sets 0 touches 1 deletes 0
destroyed: sets 0 touches 0 deletes 1
[]
