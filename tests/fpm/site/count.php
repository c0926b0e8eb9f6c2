<?php
// Adds one to the session's counter, and answers "COUNT PID" only once it is written.
//   pause=N    microseconds between reading and writing
//   lock=0     without the session lock: to see that the tests would notice
require __DIR__ . '/answer.inc';
if (($_GET['lock'] ?? '1') === '0') {
    ini_set('holdfast.lock', '0');
}
start_session();
$count = ($_SESSION['count'] ?? 0) + 1;
if (($_GET['pause'] ?? '0') !== '0') {
    usleep((int) $_GET['pause']);
}
$_SESSION['count'] = $count;
close_session();
answer($count . ' ' . getmypid());
