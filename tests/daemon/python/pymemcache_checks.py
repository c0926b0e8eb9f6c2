"""pymemcache (text dialect): prints "ok NAME" or "FAIL NAME: what came", and at the end "done"."""

import sys
import uuid

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

PORT = int(sys.argv[1])
KEY = "py." + uuid.uuid4().hex[:12]


def check(name, came, wanted):
    print(f"ok {name}" if came == wanted else f"FAIL {name}: {came!r}, not {wanted!r}")


def fails(name, error, action):
    try:
        came = action()
    except error:
        print(f"ok {name}")
    else:
        print(f"FAIL {name}: {came!r}")


client = Client(("127.0.0.1", PORT), timeout=10, no_delay=True, default_noreply=False)
check("set", client.set(KEY, b"value", flags=7), True)
check("get", client.get(KEY), b"value")
check("get default", client.get(KEY + "x", b"default"), b"default")
check("add there", client.add(KEY, b"x"), False)
check("replace", client.replace(KEY, b"new"), True)
check("replace missing", client.replace(KEY + "x", b"new"), False)
check("append", client.append(KEY, b"-b"), True)
check("prepend", client.prepend(KEY, b"a-"), True)
check("appended", client.get(KEY), b"a-new-b")
value, token = client.gets(KEY)
check("cas", client.cas(KEY, b"swapped", token), True)
check("cas old", client.cas(KEY, b"again", token), False)
check("cas missing", client.cas(KEY + "x", b"again", token), None)
check("set_many", client.set_many({f"{KEY}.{n}": b"%d" % n for n in range(200)}), [])
check("get_many", len(client.get_many([f"{KEY}.{n}" for n in range(250)])), 200)
check("gets_many", len(client.gets_many([f"{KEY}.{n}" for n in range(5)])), 5)
check("delete_many", client.delete_many([f"{KEY}.{n}" for n in range(200)]), True)
check("get_many none", client.get_many([f"{KEY}.{n}" for n in range(200)]), {})
check("set number", client.set(KEY + "n", b"10"), True)
check("incr", client.incr(KEY + "n", 5), 15)
check("decr", client.decr(KEY + "n", 20), 0)
check("incr missing", client.incr(KEY + "x", 1), None)
fails("incr text", MemcacheClientError, lambda: client.incr(KEY, 1))
check("touch", client.touch(KEY, 100), True)
check("touch missing", client.touch(KEY + "x", 100), False)
check("noreply", [client.set(KEY + "q", b"1", noreply=True), client.get(KEY + "q")], [True, b"1"])
check("delete", client.delete(KEY + "q"), True)
check("delete missing", client.delete(KEY + "q"), False)
check("large", [client.set(KEY + "l", b"x" * 900000), len(client.get(KEY + "l"))], [True, 900000])
fails("too large", MemcacheServerError, lambda: client.set(KEY + "l", b"x" * 3000000))
check("in step", client.get(KEY), b"swapped")
check("version", client.version().split(b".")[0], b"1")
check("stats", b"pid" in client.stats(), True)
check("stats settings", b"item_size_max" in client.stats("settings"), True)
check("flush", [client.flush_all(), client.get(KEY)], [True, None])
check("raw", client.raw_command(b"mn\r\n", b"\r\n"), b"MN")
client.quit()
pooled = PooledClient(("127.0.0.1", PORT), timeout=10, max_pool_size=4)
check("pooled", [pooled.set(KEY, b"p", noreply=False), pooled.get(KEY)], [True, b"p"])
hashed = HashClient([("127.0.0.1", PORT)], timeout=10)
check("hashed", [hashed.set(KEY, b"h", noreply=False), hashed.get_many([KEY])], [True, {KEY: b"h"}])
print("done")
