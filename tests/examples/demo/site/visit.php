<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

$asked = hrtime(true);
start_session_for_change();
$waited_ms = intdiv(hrtime(true) - $asked, 1_000_000);
if (!isset($_SESSION['user'])) {
    fail(401, 'Not logged in.');
}
// Read, pause, write: without a lock, two visits at once would both read the same number, and one
// would be lost. The pause makes that certain to be seen.
$visits = $_SESSION['visits'];
usleep(VISITS_PAUSE_US);
$_SESSION['visits'] = $visits + 1;
if (!session_write_close()) {
    fail(503, 'The visit could not be stored. The PHP log says why.');
}

if (!wants_json()) {
    header('Location: /', true, 303);
    exit;
}
send_headers('application/json');
echo json_encode(
    ['user' => $_SESSION['user'], 'visits' => $_SESSION['visits'], 'worker' => getmypid(), 'waited_ms' => $waited_ms],
    JSON_THROW_ON_ERROR
);
