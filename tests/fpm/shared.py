"""What the modules of this suite share: the seed of what is random, and the bound on a lock's release."""

from __future__ import annotations

import os
import random
import secrets

SEED = int(os.environ.get("HOLDFAST_FPM_SEED", str(secrets.randbelow(2**32))))
chance = random.Random(SEED)

# The promise is 50 ms for a key whose holder died. On top come a whole request through nginx and PHP,
# and the time that a busy machine with two cores keeps a ready process waiting.
PROMISE_MS = 50
SCHEDULING_MARGIN_MS = 200


class Skipped(Exception):
    """A tool that the test needs is not there; the message names it."""
