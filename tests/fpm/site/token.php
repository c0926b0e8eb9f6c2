<?php
// The first visit with set=TOKEN keeps the token; each visit answers "TOKEN COUNT" from the session,
// which the client compares with its own.
require __DIR__ . '/answer.inc';
start_session();
$_SESSION['token'] ??= (string) ($_GET['set'] ?? 'none');
$_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
// Sessions of different lengths, so that a mix-up would also show as bytes too many or too few.
$_SESSION['padding'] ??= str_repeat($_SESSION['token'], random_int(1, 100));
if ($_SESSION['padding'] !== str_repeat($_SESSION['token'], intdiv(strlen($_SESSION['padding']), strlen($_SESSION['token'])))) {
    answer('the padding is not made of the token', 500);
}
close_session();
answer($_SESSION['token'] . ' ' . $_SESSION['count']);
