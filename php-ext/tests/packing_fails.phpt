--TEST--
When an object ends the request while PHP packs the session, the stored session survives
--EXTENSIONS--
holdfast
--FILE--
<?php
require __DIR__ . '/store.inc';
use_store('packing_fails');
visit('packed', fn() => $_SESSION['n'] = 1);
$ends = ['exit(3);', 'throw new Exception("x");', 'ini_set("memory_limit", "8M"); str_repeat("x", 90000000);'];
foreach ($ends as $end) {
    // What is warned of at the very end of a request is not in its output any more.
    foreach (['session_write_close();', ''] as $close) {
        $child = new Child('
            class Guest { public function __serialize(): array { ' . $end . ' return []; } }
            session_id("packed");
            session_start();
            $_SESSION["n"]++;
            $_SESSION["guest"] = new Guest();
            $_SESSION["last"] = true;
            ' . $close);
        $output = $child->end();
        echo str_contains($output, 'was not packed to its end') ? 'warned ' : '', json_encode(visit('packed')), "\n";
    }
}
echo count(holdfast_locks()), " locks\n";
?>
--CLEAN--
<?php
require __DIR__ . '/store.inc';
remove_store('packing_fails');
?>
--EXPECT--
warned {"n":1}
{"n":1}
warned {"n":1}
{"n":1}
{"n":1}
{"n":1}
0 locks
