<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

start_session_for_change();
$seconds = max(1, min(60, (int) ($_POST['seconds'] ?? 5)));
send_headers('text/plain; charset=utf-8');
// Said at once, so that the other side knows from when on the lock is held.
echo 'process ', getmypid(), " holds this session's lock\n";
flush();
sleep($seconds);
session_write_close();
echo "released after $seconds s\n";
