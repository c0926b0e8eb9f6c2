<?php
// One request to a session, under php-fpm. What is done is in the query:
//   count          adds one to the session's counter, answers the new number
//   hold=SECONDS   keeps the session open so long, after writing its process number to the file named by `mark`
//   read           answers the counter
parse_str($_SERVER['QUERY_STRING'], $asked);
session_id($asked['id']);
if (!@session_start()) {
    echo 'no session';
    return;
}
if (isset($asked['hold'])) {
    file_put_contents($asked['mark'], (string) getmypid());
    usleep((int) ($asked['hold'] * 1e6));
}
if (isset($asked['count'])) {
    $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
}
$number = $_SESSION['count'] ?? 0;
session_write_close();
echo $number;
