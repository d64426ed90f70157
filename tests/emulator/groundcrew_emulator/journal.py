"""What happened, in its order, for a test's assertions: calls, states, targets, hooks.

Each entry has "at" (seconds since the emulator's start) and "what":

    call    service, region, action, parameters, status, error (its code), fault (what was injected)
    target  instance, state: where IMDS says that the group takes the instance
    state   instance, state
    health  instance, state (registered or draining), target_group
    hook    instance, hook, state (holding or done), by (call, timeout, global timeout), result
"""

import collections
import threading

from . import world

# A test that makes more has no use for the oldest.
ENTRIES_MAX = 100_000

LOCK = threading.Lock()
ENTRIES = collections.deque(maxlen=ENTRIES_MAX)
# IMDS path -> status -> requests. "hang" is a status here.
IMDS = {}


def note(what, **details):
    """Adds an entry. Who gets it back may complete it: a call's status comes later."""
    entry = {"at": 0, "what": what, **details}
    with LOCK:
        entry["at"] = world.seconds()
        ENTRIES.append(entry)
    return entry


def count_imds(path, status):
    with LOCK:
        statuses = IMDS.setdefault(path, {})
        statuses[status] = statuses.get(status, 0) + 1


def read():
    with LOCK:
        imds = {path: dict(statuses) for path, statuses in IMDS.items()}
        return {"now": world.seconds(), "entries": [dict(one) for one in ENTRIES], "imds": imds}


def clear():
    with LOCK:
        ENTRIES.clear()
        IMDS.clear()
