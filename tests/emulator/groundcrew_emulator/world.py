"""What every part shares: the one lock, and the time since the emulator started."""

import threading
import time

# Held by whoever looks at or changes groups, instances and targets: calls come on a thread each.
LOCK = threading.RLock()
STARTED = time.monotonic()


def seconds():
    """Since the start; no clock that somebody sets moves it."""
    return round(time.monotonic() - STARTED, 6)
