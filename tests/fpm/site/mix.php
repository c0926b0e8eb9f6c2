<?php
// Each way through the handler once, the refused ones too, beside one change of the visitor's own session:
// "COUNT PID". What any of them leaves behind in the worker, request after request, is a leak.
require __DIR__ . '/state.inc';

/** Packs and unpacks nothing, and throws when it is told to. */
class Refusing
{
    public function __serialize(): array
    {
        throw new Error('not packed');
    }
}

function refused(string $setting, string $value, callable $work): void
{
    ini_set($setting, $value);
    @$work();
    ini_restore($setting);
    session_status() === PHP_SESSION_ACTIVE && @session_abort();
}

$mine = $_COOKIE[session_name()];
start_session(['use_cookies' => 0]);
// A session of this request alone, from its first write to its end.
session_abort();
session_id('');
start_session();
change();
close_session();
start_session();
close_session();
start_session(['read_and_close' => true]);
start_session();
change();
session_reset();
session_regenerate_id();
session_regenerate_id(true);
refused('holdfast.max_session_bytes', '1', fn() => $_SESSION['text'] = 'x' and session_write_close());
refused('holdfast.max_session_bytes', '1', fn() => session_start());
refused('holdfast.readonly', '1', fn() => session_start() and change() or session_write_close());
try {
    start_session();
    $_SESSION['guest'] = new Refusing();
    @session_write_close();
} catch (Error) {
}
start_session();
session_destroy();
session_id('no.id');
@session_start() && session_abort();
session_id($mine);
start_session();
// These look at the whole store.
if (random_int(1, 20) === 1) {
    session_gc();
    holdfast_status();
    holdfast_locks(3);
}
change();
close_session();
answer($_SESSION['count'] . ' ' . getmypid());
