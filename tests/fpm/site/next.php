<?php
// The next request: checks that the session is whole, changes it, and answers "COUNT PID".
require __DIR__ . '/state.inc';
start_session();
change();
close_session();
answer($_SESSION['count'] . ' ' . getmypid());
