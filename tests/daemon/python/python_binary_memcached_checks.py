"""python-binary-memcached (binary dialect): prints "ok NAME" or "FAIL NAME: what came", and at the end "done"."""

import sys
import uuid

import bmemcached

PORT = int(sys.argv[1])
KEY = "pb." + uuid.uuid4().hex[:12]


def check(name, came, wanted):
    print(f"ok {name}" if came == wanted else f"FAIL {name}: {came!r}, not {wanted!r}")


client = bmemcached.Client((f"127.0.0.1:{PORT}",), socket_timeout=10)
check("set", client.set(KEY, "value"), True)
check("get", client.get(KEY), "value")
check("get missing", client.get(KEY + "x"), None)
for name, value in {"int": 42, "long": 2**80, "bytes": b"\0\r\n\xff", "list": [1, "two"], "large": "x" * 900000, "empty": ""}.items():
    check("set " + name, client.set(KEY + name, value), True)
    check("get " + name, client.get(KEY + name), value)
value, token = client.gets(KEY)
check("cas", client.cas(KEY, "swapped", token), True)
check("cas old", client.cas(KEY, "again", token), False)
check("add there", client.add(KEY, "x"), False)
check("add", client.add(KEY + "new", "x"), True)
check("replace", client.replace(KEY + "new", "y"), True)
check("replace missing", client.replace(KEY + "x", "y"), False)
check("delete", client.delete(KEY + "new"), True)
check("delete missing", client.delete(KEY + "new"), True)
check("set_multi", client.set_multi({f"{KEY}.{n}": n for n in range(100)}), [])
check("get_multi", client.get_multi([f"{KEY}.{n}" for n in range(120)]), {f"{KEY}.{n}": n for n in range(100)})
check("delete_multi", client.delete_multi([f"{KEY}.{n}" for n in range(100)]), True)
check("get_multi none", client.get_multi([f"{KEY}.{n}" for n in range(100)]), {})
check("incr makes", client.incr(KEY + "n", 5, default=10), 10)
check("incr", client.incr(KEY + "n", 5), 15)
check("decr", client.decr(KEY + "n", 20), 0)
stats = list(client.stats().values())[0]
check("stats", "pid" in stats or b"pid" in stats, True)
check("flush", [client.flush_all(), client.get(KEY)], [True, None])
client.disconnect_all()
print("done")
