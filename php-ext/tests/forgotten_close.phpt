--TEST--
A handler object that forgets parent::close() leaves nothing to the next request of the process
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('forgotten_close');
$server = new Server('forgotten_close', <<<'PHP'
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
foreach (['?forget', '?forget', '', '?forget'] as $query) {
    echo $server->get($query);
}
echo count(holdfast_locks()), " locks\n";
$server->stop();
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
