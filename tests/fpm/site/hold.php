<?php
// Takes the session's lock, says so at once ("PID"), holds it, then adds one to the counter.
//   ms=N       how long
require __DIR__ . '/answer.inc';
start_session();
header('Content-Type: text/plain');
// nginx must pass the first line on before the last one is there.
header('X-Accel-Buffering: no');
echo getmypid(), "\n";
flush();
usleep(1000 * (int) ($_GET['ms'] ?? 1000));
$_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
close_session();
echo $_SESSION['count'], "\n";
