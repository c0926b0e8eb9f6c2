<?php
// Sessions through php-memcached, request by request in one process:
//   php -d session.save_handler=memcached -d session.save_path=HOST:PORT session.php
// Prints "ok NAME" or "FAIL NAME: what came", and at the end "done".
function check(string $name, mixed $wanted, mixed $came): void
{
    $GLOBALS['said'][] = $wanted === $came ? "ok $name" : "FAIL $name: " . json_encode([$wanted, $came], JSON_PARTIAL_OUTPUT_ON_ERROR);
}

function request(string $id, callable $work): mixed
{
    if ($id !== '') {
        session_id($id);
    }
    if (!session_start()) {
        return 'no session';
    }
    $result = $work();
    session_write_close();
    $_SESSION = [];
    return $result;
}

ob_start();
ini_set('session.use_cookies', '0');
ini_set('session.use_strict_mode', '0');
$id = 'wire' . bin2hex(random_bytes(10));
check('a new session is empty', [], request($id, fn () => $_SESSION));
request($id, function () { $_SESSION['n'] = 1; $_SESSION['text'] = "\0\r\nEND\r\n" . str_repeat('x', 3000); });
check('it is there again', 1, request($id, fn () => $_SESSION['n'] ?? null));
check('all of it', 3008, request($id, fn () => strlen($_SESSION['text'] ?? '')));
for ($i = 0; $i < 50; $i++) {
    request($id, function () { $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; });
}
check('fifty more', 51, request($id, fn () => $_SESSION['n'] ?? null));

ini_set('session.lazy_write', '1');
check('unchanged, it is only touched', 51, request($id, fn () => $_SESSION['n']));
check('and still there', 51, request($id, fn () => $_SESSION['n']));

check('its id changes', true, request($id, function () use ($id) {
    $kept = session_regenerate_id(true);
    $GLOBALS['next'] = session_id();
    return $kept && $GLOBALS['next'] !== $id;
}));
check('the new one has it', 51, request($next, fn () => $_SESSION['n'] ?? null));
check('the old one has not', [], request($id, fn () => $_SESSION));
check('destroyed', true, request($next, fn () => session_destroy()));
check('gone', [], request($next, fn () => $_SESSION));

ini_set('session.use_strict_mode', '1');
$chosen = 'attacker' . bin2hex(random_bytes(8));
check('strict: an id that nobody made is not taken', false, request($chosen, fn () => session_id() === $chosen));
$made = request('', function () { $_SESSION['a'] = 1; return session_id(); });
check('strict: one that was made is', $made, request($made, fn () => session_id()));
check('strict: with what is in it', 1, request($made, fn () => $_SESSION['a'] ?? null));
ob_end_clean();
echo implode("\n", $said), "\ndone\n";
