--TEST--
Ids of up to 256 characters work; others are refused in every callback
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('ids');
$long = str_repeat('aZ9,-', 51) . 'x';
visit($long, fn() => $_SESSION['n'] = 1);
echo strlen($long), ' ', json_encode(peek($long)), "\n";
$handler = new SessionHandler();
session_set_save_handler($handler, false);
session_id('valid');
session_start();
foreach ([$long . 'y', 'dot.dot', '../../etc', "new\nline", ''] as $id) {
    $answers = [@$handler->read($id), @$handler->write($id, 'n|i:1;'), @$handler->destroy($id)];
    echo json_encode($answers), "\n";
}
session_abort();
echo holdfast_status()['last_error'], "\n";
echo holdfast_status()['keys'], " record\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('ids');
?>
--EXPECT--
256 {"n":1}
[false,false,false]
[false,false,false]
[false,false,false]
[false,false,false]
[false,false,false]
the session id is not one that PHP makes: it has 1 to 256 characters, which are letters, digits, commas and minus signs
1 record
