<?php
// Ends by PHP's own means in one place of a request, where the application's code or an allocation can be.
//   place=     see below
//   how=       exit, throw (an Error that nobody catches), fatal, memory (the memory limit)
require __DIR__ . '/state.inc';
[$place, $how] = [$_GET['place'], $_GET['how']];

function perish(string $here): void
{
    global $place, $how;
    if ($here !== $place) {
        return;
    }
    // Once only: what PHP still does at the end of the request must be able to do it.
    $place = '';
    match ($how) {
        'exit' => exit('perished'),
        'throw' => throw new Error('perished'),
        'fatal' => trigger_error('perished', E_USER_ERROR),
        'memory' => str_repeat('x', 1 << 30),
    };
}

/** What frameworks put between PHP and the extension. */
class Framework extends SessionHandler
{
    public function open(string $path, string $name): bool
    {
        perish('before-open');
        $result = parent::open($path, $name);
        perish('after-open');
        return $result;
    }

    public function read(string $id): string|false
    {
        perish('before-read');
        $result = parent::read($id);
        perish('after-read');
        return $result;
    }

    public function write(string $id, string $data): bool
    {
        perish('before-write');
        $result = parent::write($id, $data);
        perish('after-write');
        return $result;
    }

    public function gc(int $max_lifetime): int|false
    {
        perish('before-gc');
        $result = parent::gc($max_lifetime);
        perish('after-gc');
        return $result;
    }

    public function close(): bool
    {
        perish('before-close');
        $result = parent::close();
        perish('after-close');
        return $result;
    }
}

/** An object in the session, whose own code runs while PHP packs, unpacks and forgets it. */
class Guest
{
    public function __serialize(): array
    {
        perish('packing');
        return [];
    }

    public function __unserialize(array $data): void
    {
        perish('unpacking');
    }

    public function __destruct()
    {
        perish('destructor');
    }
}

if (preg_match('/^(before|after)-/', $place)) {
    session_set_save_handler(new Framework(), str_ends_with($place, 'close'));
}
if (str_starts_with($place, 'warning')) {
    // A handler of warnings that ends the request, as many applications have one.
    set_error_handler(fn() => perish($place) ?? true, E_WARNING);
}
if ($place === 'warning-of-read') {
    ini_set('holdfast.max_session_bytes', '1');
}
register_shutdown_function(perish(...), 'shutdown');
start_session(['gc_probability' => (int) str_ends_with($place, 'gc'), 'gc_divisor' => 1]);
$_SESSION['guest'] ??= new Guest();
change();
perish('locked');
if ($place === 'warning-of-write') {
    ini_set('holdfast.max_session_bytes', '1');
}
if ($place !== 'destructor' && $place !== 'shutdown') {
    close_session();
}
answer((string) $_SESSION['count']);
