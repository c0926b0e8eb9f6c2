<?php
/**
 * What the pages of the demo share. It lies outside the document root, so it cannot be asked for.
 *
 * The pages use PHP's ordinary session functions only; that Holdfast keeps the sessions is a setting.
 */
declare(strict_types=1);

const VISITS_PAUSE_US = 1000;

function e(string|int|float $text): string
{
    return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
}

function send_headers(string $type = 'text/html; charset=utf-8'): void
{
    header("Content-Type: $type");
    header("Content-Security-Policy: default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
    header('X-Content-Type-Options: nosniff');
    header('Referrer-Policy: same-origin');
    header('Cache-Control: no-store');
}

/** Starts the session, or answers 503: a page never goes on with a session that it could not read. */
function start_session(): void
{
    if (!session_start()) {
        fail(503, 'The session could not be opened. The PHP log says why.');
    }
    $_SESSION['token'] ??= bin2hex(random_bytes(16));
}

function fail(int $status, string $why): never
{
    http_response_code($status);
    send_headers('text/plain; charset=utf-8');
    exit("$why\n");
}

/** For the pages that change something: POST, with the token that only our own pages know. */
function start_session_for_change(): void
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        header('Allow: POST');
        fail(405, 'This address takes POST only.');
    }
    start_session();
    $token = $_POST['token'] ?? '';
    if (!is_string($token) || !hash_equals($_SESSION['token'], $token)) {
        fail(403, 'The form has expired. Go back, reload the page, and send it again.');
    }
}

function wants_json(): bool
{
    return str_contains($_SERVER['HTTP_ACCEPT'] ?? '', 'application/json');
}

/** Both panels that show the store from inside. They need no session, so they never wait for one. */
function store_panels(): string
{
    if (!function_exists('holdfast_status')) {
        return '<p class="notice">The extension <code>holdfast</code> is not loaded here: sessions are kept by <code>'
            . e((string) ini_get('session.save_handler')) . '</code>.</p>';
    }
    $status = holdfast_status();
    if ($status['error'] !== '') {
        return '<p class="notice" role="alert">' . e($status['error']) . '</p>';
    }
    return locks_panel(holdfast_locks(20)) . status_panel($status);
}

/** @param list<array<string, mixed>> $locks */
function locks_panel(array $locks): string
{
    $columns = ['session' => 'Session', 'pid' => 'Process', 'age_ms' => 'Held for', 'waiters' => 'Waiting', 'alive' => 'Alive'];
    $html = '<section class="card" aria-labelledby="locks-title"><h2 id="locks-title">Session locks held now</h2>';
    if ($locks === []) {
        return $html . '<p class="quiet">None. A lock is held from <code>session_start()</code> until the session is '
            . 'written: usually too short to be seen here. Hold yours for a while to see it.</p></section>';
    }
    $html .= '<div class="scroll" tabindex="0" role="region" aria-labelledby="locks-title"><table><thead><tr>';
    foreach ($columns as $label) {
        $html .= '<th scope="col">' . e($label) . '</th>';
    }
    $html .= '</tr></thead><tbody>';
    foreach ($locks as $lock) {
        $html .= '<tr>';
        foreach (array_keys($columns) as $name) {
            $html .= '<td>' . e(shown($name, $lock[$name] ?? null)) . '</td>';
        }
        $html .= '</tr>';
    }
    return $html . '</tbody></table></div></section>';
}

/** What most people look for, and the rest behind a click. @param array<string, mixed> $status */
function status_panel(array $status): string
{
    $first = [
        'keys' => 'Sessions', 'live_bytes' => 'Their size', 'max_bytes' => 'Room for', 'processes' => 'Processes attached',
        'gets' => 'Reads', 'sets' => 'Writes', 'touches' => 'Touches', 'lock_waited' => 'Waits for a lock',
        'lock_waiters' => 'Waiting now', 'sync' => 'Sync', 'last_sync_age_ms' => 'Last sync', 'persistent' => 'Survives a reboot',
    ];
    $html = '<section class="card" aria-labelledby="status-title"><h2 id="status-title">The store</h2>'
        . facts(array_intersect_key($status, $first), $first);
    $rest = array_diff_key($status, $first, ['error' => 1, 'last_error' => 1]);
    return $html . '<details><summary>All counters</summary>' . facts($rest, []) . '</details></section>';
}

/**
 * @param array<string, mixed> $values
 * @param array<string, string> $labels also the order; a name without a label is shown as it is
 */
function facts(array $values, array $labels): string
{
    $html = '<dl class="facts">';
    foreach (array_intersect_key($labels, $values) + array_combine(array_keys($values), array_keys($values)) as $name => $label) {
        $html .= '<div><dt>' . e($label) . '</dt><dd>' . e(shown($name, $values[$name])) . '</dd></div>';
    }
    return $html . '</dl>';
}

function shown(string $name, mixed $value): string
{
    return match (true) {
        is_bool($value) => $value ? 'yes' : 'no',
        is_int($value) && str_ends_with($name, '_bytes') => bytes($value),
        $name === 'age_ms' && is_int($value) => number_format($value / 1000, 1) . ' s',
        $name === 'last_sync_age_ms' && is_int($value) => number_format($value / 1000, 1) . ' s ago',
        is_int($value) && str_ends_with($name, '_ms') => number_format($value) . ' ms',
        is_int($value) && $name !== 'pid' => number_format($value),
        is_scalar($value) => (string) $value,
        default => 'none',
    };
}

function bytes(int $n): string
{
    $amount = (float) $n;
    foreach (['B', 'KiB', 'MiB', 'GiB'] as $unit) {
        if ($amount < 1024) {
            return number_format($amount, $unit === 'B' || $amount >= 100 ? 0 : 1) . " $unit";
        }
        $amount /= 1024;
    }
    return number_format($amount, 1) . ' TiB';
}
