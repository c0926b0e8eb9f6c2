<?php
// The class Memcached as applications use it, against a real server, in the text and the binary dialect:
//   php class.php HOST PORT binary|text
// Prints "ok NAME" or "FAIL NAME: what came", and at the end "done".
[, $host, $port, $dialect] = $argv;

function connect(string $host, int $port, string $dialect): Memcached
{
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, $dialect === 'binary');
    $client->setOption(Memcached::OPT_TCP_NODELAY, true);
    $client->addServer($host, $port);
    return $client;
}

function check(string $name, mixed $wanted, mixed $came): void
{
    echo $wanted === $came ? "ok $name\n" : "FAIL $name: " . json_encode([$wanted, $came], JSON_PARTIAL_OUTPUT_ON_ERROR) . "\n";
}

$c = connect($host, (int) $port, $dialect);
$k = 'class.' . bin2hex(random_bytes(6));

check('set', true, $c->set($k, 'value'));
check('get', 'value', $c->get($k));
foreach (['int' => 42, 'float' => 1.5, 'true' => true, 'null' => null, 'array' => ['a' => [1, 2]], 'empty' => '', 'long' => str_repeat('abc', 5000),
          'bytes' => "\0\r\n\xff", 'object' => new ArrayObject([1, 2])] as $type => $value) {
    check("set $type", true, $c->set("$k.$type", $value));
    $came = $c->get("$k.$type");
    check("get $type", serialize($value), serialize($came));
}
check('get of nothing', false, $c->get("$k.none"));
check('its code', Memcached::RES_NOTFOUND, $c->getResultCode());
check('add of what is there', false, $c->add($k, 'x'));
check('its code', Memcached::RES_NOTSTORED, $c->getResultCode() === Memcached::RES_DATA_EXISTS ? Memcached::RES_NOTSTORED : $c->getResultCode());
check('add of what is not', true, $c->add("$k.add", 'x'));
check('replace of what is not', false, $c->replace("$k.none", 'x'));
check('replace of what is there', true, $c->replace($k, 'y'));
check('delete', true, $c->delete("$k.add"));
check('delete of nothing', false, $c->delete("$k.add"));

$c->setOption(Memcached::OPT_COMPRESSION, false);
check('set to append to', true, $c->set("$k.append", 'b'));
check('append', true, $c->append("$k.append", 'c'));
check('prepend', true, $c->prepend("$k.append", 'a'));
check('appended', 'abc', $c->get("$k.append"));
$c->setOption(Memcached::OPT_COMPRESSION, true);

$many = [];
for ($i = 0; $i < 200; $i++) {
    $many["$k.many.$i"] = "value $i";
}
check('setMulti', true, $c->setMulti($many));
check('getMulti', $many, $c->getMulti(array_keys($many), Memcached::GET_PRESERVE_ORDER));
check('getMulti with gaps', ["$k.many.3" => 'value 3'], $c->getMulti(["$k.none", "$k.many.3", "$k.none2"]));
check('deleteMulti', true, !in_array(false, array_map(fn ($r) => $r === true, $c->deleteMulti(array_keys($many)))));
check('getMulti of nothing', [], $c->getMulti(array_keys($many)));
check('getDelayed', true, $c->getDelayed([$k, "$k.append"], true));
check('fetchAll', 2, count($c->fetchAll()));

check('set number', true, $c->set("$k.n", 10));
check('increment', 15, $c->increment("$k.n", 5));
check('decrement', 12, $c->decrement("$k.n", 3));
check('decrement below 0', 0, $c->decrement("$k.n", 100));
check('increment of nothing', false, $c->increment("$k.none"));
if ($dialect === 'binary') {
    check('increment that makes', 7, $c->increment("$k.made", 1, 7, 100));
    check('increment of it', 8, $c->increment("$k.made", 1, 7, 100));
}

$got = $c->get($k, null, Memcached::GET_EXTENDED);
check('cas token', true, isset($got['cas']));
check('cas', true, $c->cas($got['cas'], $k, 'swapped'));
check('cas with an old token', false, $c->cas($got['cas'], $k, 'again'));
check('its code', Memcached::RES_DATA_EXISTS, $c->getResultCode());
check('value after cas', 'swapped', $c->get($k));

check('touch', true, $c->touch($k, 100));
check('touch of nothing', false, $c->touch("$k.none", 100));
check('set for a second', true, $c->set("$k.short", 'x', 1));
check('set until 1970', true, $c->set("$k.past", 'x', 2678400));
check('nothing there from 1970', false, $c->get("$k.past"));
check('a key of 250 bytes', true, $c->set(str_pad($k, 250, 'x'), 'x'));
check('a key of 251 bytes', false, $c->set(str_pad($k, 251, 'x'), 'x'));
check('a value of 900,000 bytes', true, $c->set("$k.large", $large = random_bytes(900000)));
check('the same back', md5($large), md5((string) $c->get("$k.large")));
check('a value of 2 MB', false, $c->set("$k.large", str_repeat(random_bytes(1000), 2000)) && $c->get("$k.large") === null);
check('then goes on', 'swapped', $c->get($k));

$version = $c->getVersion();
check('version', true, is_array($version) && version_compare(current($version), '1.4.8', '>='));
$stats = $c->getStats();
check('stats', true, is_array($stats) && isset(current($stats)['pid'], current($stats)['curr_items']));
check('flush', true, $c->flush());
check('after flush', false, $c->get($k));
sleep(2);
check('after two seconds', false, $c->get("$k.short"));
check('quit', true, $c->quit());
check('and again', true, $c->set($k, 'x'));
echo "done\n";
