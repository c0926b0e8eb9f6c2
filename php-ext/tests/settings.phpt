--TEST--
A setting that makes no sense is refused when it is set, and the value before stays
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
ob_start();
$wrong = [
    'lock_wait_ms' => '-2', 'lock_lease_ms' => 'an hour', 'lock_failure' => 'break',
    'max_waiters' => '-1', 'slow_lock_log_ms' => '1.5', 'touch_granularity_pct' => '91',
    'first_lifetime_s' => '-5', 'regenerate_grace_s' => '3601', 'max_session_bytes' => '65M',
    'prefix' => 'two words',
];
foreach ($wrong as $name => $value) {
    $before = ini_get("holdfast.$name");
    if (@ini_set("holdfast.$name", $value) !== false || ini_get("holdfast.$name") !== $before) {
        echo "it changed\n";
    }
    echo preg_replace('/^\S+ /', '', error_get_last()['message']), "\n";
}
foreach (['store', 'max_bytes', 'sync'] as $name) {
    var_dump(ini_set("holdfast.$name", '1'));
}
echo (new Child('echo ini_get("holdfast.sync"), "|", ini_get("holdfast.lock_wait_ms");',
    ['holdfast.sync' => 'sometimes', 'holdfast.lock_wait_ms' => 'x']))->end(), "\n";
?>
--EXPECTF--
holdfast.lock_wait_ms cannot be "-2": it must be a whole number from -1 to 86400000. The value before stays
holdfast.lock_lease_ms cannot be "an hour": it must be a whole number from 0 to 2592000000. The value before stays
holdfast.lock_failure cannot be "break": it must be fail or readonly. The value before stays
holdfast.max_waiters cannot be "-1": it must be a whole number from 0 to 1000000. The value before stays
holdfast.slow_lock_log_ms cannot be "1.5": it must be a whole number from 0 to 86400000. The value before stays
holdfast.touch_granularity_pct cannot be "91": it must be a whole number from 0 to 90. The value before stays
holdfast.first_lifetime_s cannot be "-5": it must be a whole number from 0 to 31536000. The value before stays
holdfast.regenerate_grace_s cannot be "3601": it must be a whole number from 0 to 3600. The value before stays
holdfast.max_session_bytes cannot be "65M": it must be bytes (K, M and G may follow), from 0 to 67108864. The value before stays
holdfast.prefix cannot be "two words": it must be up to 256 visible ASCII characters. The value before stays
bool(false)
bool(false)
bool(false)
%AWarning: %sholdfast.lock_wait_ms cannot be "x"%a
%AWarning: %sholdfast.sync cannot be "sometimes"%a
|60000
