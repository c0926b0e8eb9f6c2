<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

start_session_for_change();
$name = $_POST['name'] ?? '';
if (!is_string($name) || trim($name) === '' || strlen($name) > 160 || preg_match('//u', $name) !== 1) {
    fail(400, 'Please give a name of up to 40 letters.');
}
// A new id at each login: whoever planted the old one in this browser does not know the new one.
session_regenerate_id(true);
$_SESSION = ['user' => trim($name), 'visits' => 0, 'token' => bin2hex(random_bytes(16))];
header('Location: /', true, 303);
