--TEST--
A handler object that forgets parent::close() leaves nothing to the next request of the process
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('forgotten_close');
file_put_contents(store_path('forgotten_close') . '.php', <<<'PHP'
<?php
class Forgetful extends SessionHandler
{
    public function close(): bool { return true; }
}
if (isset($_GET['forget'])) {
    session_set_save_handler(new Forgetful(), false);
}
session_id('forgotten');
session_start();
$_SESSION['text'] ??= str_repeat('x', 5000);
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
session_write_close();
echo $_SESSION['n'], ' ', count(holdfast_locks()), " locks\n";
PHP);
$socket = stream_socket_server('tcp://127.0.0.1:0');
$address = stream_socket_get_name($socket, false);
fclose($socket);
$script = store_path('forgotten_close') . '.php';
$server = proc_open([...php_command([]), '-S', $address, $script], [2 => ['pipe', 'w']], $pipes);
while (($line = fgets($pipes[2])) && !str_contains($line, 'started')) {
}
foreach (['?forget', '?forget', '', '?forget'] as $query) {
    echo file_get_contents("http://$address/$query");
}
echo count(holdfast_locks()), " locks\n";
proc_terminate($server, 9);
unlink($script);
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('forgotten_close');
?>
--EXPECT--
1 1 locks
2 1 locks
3 0 locks
4 1 locks
0 locks
