--TEST--
No message holds a whole session id, nor session data
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('id_not_in_messages');
$id = 'ThisIsTheSecretSessionId';
visit($id, fn() => $_SESSION['secret'] = 'TheSecretData');
$child = hold($id);
ini_set('holdfast.lock_wait_ms', '10');
session_id($id);
session_start();
ini_set('holdfast.lock_failure', 'readonly');
visit($id, fn() => $_SESSION['n'] = 1);
$child->say('go on');
$child->end();
ini_set('holdfast.lock_failure', 'fail');
ini_set('holdfast.max_session_bytes', '100');
visit($id, fn() => $_SESSION['text'] = str_repeat('TheSecretData', 50));
ini_set('holdfast.max_session_bytes', '0');
visit($id, fn() => $_SESSION['text'] = str_repeat('TheSecretData', 500000));
session_id("$id.$id");
@session_start();
print_r(holdfast_status());
$output = ob_get_clean();
echo substr_count($output, 'Warning: '), " warnings\n";
echo str_contains($output, 'Secret') ? $output : "no secrets\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('id_not_in_messages');
?>
--EXPECT--
8 warnings
no secrets
