"""meta-memcache (meta dialect): prints "ok NAME" or "FAIL NAME: what came", and at the end "done"."""

import sys
import uuid

from meta_memcache import CacheClient, Key, ServerAddress, SetMode, connection_pool_factory_builder

PORT = int(sys.argv[1])
NAME = "mm." + uuid.uuid4().hex[:12]


def check(name, came, wanted):
    print(f"ok {name}" if came == wanted else f"FAIL {name}: {came!r}, not {wanted!r}")


client = CacheClient.cache_client_from_servers(
    servers=[ServerAddress(host="127.0.0.1", port=PORT)], connection_pool_factory_fn=connection_pool_factory_builder(recv_timeout=10.0))
key = Key(NAME)
check("set", client.set(key, "value", ttl=1000), True)
check("get", client.get(key), "value")
check("get missing", client.get(Key(NAME + "x")), None)
for name, value in {"bytes": b"\0\r\n\xff", "int": 42, "list": [1, "two"], "large": "x" * 900000}.items():
    check("set " + name, client.set(Key(NAME + name), value, ttl=1000), True)
    check("get " + name, client.get(Key(NAME + name)), value)
check("a key that needs base64", client.set(Key("\u00e4 " + NAME), "b", ttl=100), True)
check("read it", client.get(Key("\u00e4 " + NAME)), "b")
check("a key that is too long", client.set(Key(NAME + "x" * 300), "l", ttl=100), True)
check("read it", client.get(Key(NAME + "x" * 300)), "l")
value, token = client.get_cas(key)
check("cas", client.set(key, "swapped", ttl=1000, cas_token=token), True)
# Version 4.3.0 of this client reads no token of more than 32 bits, whoever the server is: it then has none, and
# compares nothing.
if token is None:
    print("ok cas old is not asked: the client read no token")
else:
    check("cas old", client.set(key, "again", ttl=1000, cas_token=token), False)
check("add there", client.set(key, "x", ttl=1000, set_mode=SetMode.ADD), False)
check("multi_get", client.multi_get([key, Key(NAME + "x"), Key(NAME + "int")]), {key: "swapped", Key(NAME + "x"): None, Key(NAME + "int"): 42})
check("touch", client.touch(key, 100), True)
check("touch missing", client.touch(Key(NAME + "x"), 100), False)
check("delta_initialize", client.delta_initialize(Key(NAME + "n"), delta=5, initial_value=10, initial_ttl=100), True)
check("delta_and_get", client.delta_and_get(Key(NAME + "n"), 5), 15)
check("delta down", client.delta_and_get(Key(NAME + "n"), -20), 0)
check("invalidate", client.invalidate(key), True)
check("invalidated", client.get(key), None)
check("delete", [client.set(key, "x", ttl=100), client.delete(key), client.get(key)], [True, True, None])
check("delete missing", client.delete(key), False)
print("done")
