--TEST--
Upload progress writes the session while the upload runs, and leaves it as it was
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('upload_progress');
visit('upload', fn() => $_SESSION['n'] = 1);
$settings = ['session.use_cookies' => '1', 'session.upload_progress.enabled' => '1',
    'session.upload_progress.freq' => '1%', 'session.upload_progress.min_freq' => '0'];
$server = new Server('upload_progress', <<<'PHP'
<?php
session_start();
echo $_FILES['file']['size'], ' bytes, ', json_encode($_SESSION), "\n";
PHP, $settings);
$body = "--b\r\nContent-Disposition: form-data; name=\"PHP_SESSION_UPLOAD_PROGRESS\"\r\n\r\nx\r\n"
    . "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
    . str_repeat('u', 500000) . "\r\n--b--\r\n";
$before = holdfast_status()['sets'];
echo $server->get('', ['method' => 'POST', 'content' => $body, 'header' =>
    "Content-Type: multipart/form-data; boundary=b\r\nCookie: PHPSESSID=upload\r\n"]);
echo holdfast_status()['sets'] - $before > 10 ? "progress was written\n" : "no progress\n";
echo count(holdfast_locks()), ' locks, ', json_encode(visit('upload')), "\n";
$server->stop();
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('upload_progress');
?>
--EXPECT--
500000 bytes, {"n":1}
progress was written
0 locks, {"n":1}
