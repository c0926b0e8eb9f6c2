--TEST--
session_gc() answers with the number of expired sessions, which may be none
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('gc');
session_id('stays');
session_start();
var_dump(session_gc());
session_write_close();
ini_set('session.gc_maxlifetime', '1');
foreach (['a', 'b', 'c'] as $id) {
    visit($id, fn() => $_SESSION['n'] = 1);
}
usleep(1200000);
ini_set('session.gc_maxlifetime', '1440');
session_id('stays');
session_start();
$count = session_gc();
echo is_int($count) && $count >= 0 && $count <= 3 ? "an integer\n" : var_export($count, true);
session_write_close();
echo json_encode(peek('a')), "\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('gc');
?>
--EXPECT--
int(0)
an integer
[]
