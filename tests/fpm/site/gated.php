<?php
// Has the session's lock until the file gate=NAME appears, then changes the session: "COUNT PID".
require __DIR__ . '/state.inc';
start_session();
for ($left = 20000; $left > 0 && !file_exists(__DIR__ . '/' . basename($_GET['gate'])); $left--) {
    usleep(1000);
    clearstatcache();
}
change();
close_session();
answer($_SESSION['count'] . ' ' . getmypid());
