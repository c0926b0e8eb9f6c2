--TEST--
Unless somebody chooses a place, the store is in /var/lib/holdfast, never in PHP's own directory
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
ob_start();
foreach (['', '/var/lib/php/sessions', 'relative/path'] as $save_path) {
    ini_set('session.save_path', $save_path);
    $status = holdfast_status();
    echo "\"$save_path\": ", $status['store'] ?? $status['error'], "\n";
}
?>
--EXPECTF--
"": %S/var/lib/holdfast/%s
"/var/lib/php/sessions": %S/var/lib/holdfast/%s
"relative/path": session.save_path is "relative/path": it must be a directory's full path, beginning with a slash
