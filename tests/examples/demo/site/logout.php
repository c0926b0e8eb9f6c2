<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

start_session_for_change();
$_SESSION = [];
session_destroy();
$cookie = session_get_cookie_params();
setcookie(session_name(), '', ['expires' => 1, 'path' => $cookie['path'], 'httponly' => true, 'samesite' => 'Lax']);
header('Location: /', true, 303);
