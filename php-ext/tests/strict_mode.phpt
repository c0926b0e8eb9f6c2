--TEST--
Strict mode keeps ids that exist and replaces those that do not
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('strict_mode');
visit('known', fn() => $_SESSION['n'] = 1);
foreach (['0', '1'] as $strict) {
    ini_set('session.use_strict_mode', $strict);
    foreach (['known', 'unknown'] as $id) {
        session_id($id);
        session_start();
        echo "strict $strict, $id: ", session_id() === $id ? 'kept' : 'replaced', "\n";
        session_abort();
    }
}
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('strict_mode');
?>
--EXPECT--
strict 0, known: kept
strict 0, unknown: kept
strict 1, known: kept
strict 1, unknown: replaced
