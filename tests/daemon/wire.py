#!/usr/bin/env python3
"""The suite `wire`: the conversations of `tests/wire/`, the comparison with memcached, and who may say what, with one
closing line.

    wire.py [--against memcached]     memcached: the conversations alone, to see that they are right
"""

from __future__ import annotations

import sys

import auth_orders
import conversations
import differential
import servers


def main() -> int:
    against = "memcached" if sys.argv[1:] == ["--against", "memcached"] else "holdfast"
    report = servers.Report()
    conversations.play_all(report, against)
    if against == "holdfast":
        differential.compare(report)
        auth_orders.play_all(report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
