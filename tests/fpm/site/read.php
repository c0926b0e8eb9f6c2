<?php
// The session as it is, without a change: "COUNT TOKEN".
require __DIR__ . '/answer.inc';
start_session(['read_and_close' => true]);
answer(($_SESSION['count'] ?? 'none') . ' ' . ($_SESSION['token'] ?? 'none'));
