#!/usr/bin/env python3
"""A process that has the store open itself, through the C ABI, and writes on whatever the daemon does.

    inside.py LIBRARY STORE PREFIX

Prints `> KEY NUMBER` before each write and `+ MILLISECONDS` behind it; ends when its standard input does.
`robust.py` starts it, and compares what it was told with what the daemon then reads.
"""

from __future__ import annotations

import ctypes
import select
import sys
import time

from load import value_of

TTL_NEVER = -1


def main() -> int:
    library, path, prefix = sys.argv[1:]
    holdfast = ctypes.CDLL(library)
    holdfast.holdfast_last_error.restype = ctypes.c_char_p
    holdfast.holdfast_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
                                      ctypes.c_uint32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    store = ctypes.c_void_p()
    if holdfast.holdfast_open(path.encode(), None, ctypes.byref(store)):
        sys.exit(holdfast.holdfast_last_error().decode())
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        number += 1
        key = f"{prefix}.{number % 50}"
        value = value_of(key, number, number % 2000)
        print(f"> {key} {number}", flush=True)
        began = time.monotonic()
        if holdfast.holdfast_set(store, key.encode(), len(key), value, len(value), 0, TTL_NEVER, None, None):
            sys.exit(holdfast.holdfast_last_error().decode())
        print(f"+ {(time.monotonic() - began) * 1000:.3f}", flush=True)
        time.sleep(0.001)
    holdfast.holdfast_close(store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
