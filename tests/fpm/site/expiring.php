<?php
// Leaves sessions behind that are expired a second later, for the sweep to find.
//   count=N
require __DIR__ . '/answer.inc';
ini_set('session.gc_maxlifetime', '1');
ini_set('session.use_strict_mode', '0');
for ($left = (int) ($_GET['count'] ?? 1); $left > 0; $left--) {
    session_id(session_create_id());
    start_session();
    $_SESSION['filler'] = str_repeat('e', 100);
    close_session();
}
answer('ok');
