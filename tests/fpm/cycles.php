<?php
// Sessions on the command line, each way through the handler some times, then a clean end: for valgrind.
declare(strict_types=1);

/** What frameworks put between PHP and the extension; one that never closes. */
class Forgetful extends SessionHandler
{
    public function close(): bool
    {
        return true;
    }
}

function visit(string $id, callable $work): void
{
    session_id($id);
    @session_start();
    $work();
    @session_write_close();
}

for ($round = 0; $round < 5; $round++) {
    visit('plain', fn() => $_SESSION['n'] = $round);
    visit('plain', fn() => null);
    visit('plain', fn() => session_reset());
    visit('plain', fn() => session_abort());
    visit('moved', fn() => $_SESSION['n'] = $round);
    visit('moved', fn() => session_regenerate_id(true));
    visit('ended', fn() => session_destroy());
    visit('large', fn() => $_SESSION['text'] = str_repeat('x', 200000));
    visit('swept', fn() => session_gc());
    visit('no.id', fn() => null);
    ini_set('holdfast.max_session_bytes', '10');
    visit('large', fn() => null);
    ini_set('holdfast.max_session_bytes', '0');
    ini_set('holdfast.regenerate_grace_s', '1');
    visit('grace', fn() => $_SESSION['n'] = $round);
    visit('grace', fn() => session_regenerate_id(true));
    ini_set('holdfast.regenerate_grace_s', '0');
    ini_set('holdfast.prefix', "prefix$round.");
    visit('other', fn() => $_SESSION['n'] = $round);
    ini_restore('holdfast.prefix');
    holdfast_status();
    holdfast_locks();
}
session_set_save_handler(new Forgetful(), false);
visit('wrapped', fn() => $_SESSION['n'] = 1);
session_start();
echo "done\n";
