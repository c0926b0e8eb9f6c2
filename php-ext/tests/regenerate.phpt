--TEST--
session_regenerate_id() moves the data to a new id, and removes the old session if asked
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('regenerate');
foreach (['0', '1'] as $strict) {
    foreach ([false, true] as $delete_old) {
        ini_set('session.use_strict_mode', '0');
        visit('old', fn() => $_SESSION['n'] = 1);
        ini_set('session.use_strict_mode', $strict);
        session_id('old');
        session_start();
        $_SESSION['n'] = 2;
        var_dump(session_regenerate_id($delete_old));
        $new = session_id();
        echo count(holdfast_locks()), ' lock, ';
        session_write_close();
        echo $new !== 'old' ? 'new ' : 'same ', json_encode(peek($new));
        ini_set('session.use_strict_mode', '0');
        echo ', old ', json_encode(peek('old')), "\n";
    }
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('regenerate');
?>
--EXPECT--
bool(true)
1 lock, new {"n":2}, old {"n":2}
bool(true)
1 lock, new {"n":2}, old []
bool(true)
1 lock, new {"n":2}, old {"n":2}
bool(true)
1 lock, new {"n":2}, old []
