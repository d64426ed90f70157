"""What a test can do to the emulated world, below /_emulator/. Bodies and answers are JSON.

    POST   fleet        makes a group: {"group": "web", "instances": 1, "target_group": true,
                        "drain_seconds": 1, "step_seconds": 0, "port": 80, "warm_pool": null,
                        "hooks": {"launch": hook or list of them, "terminate": ...}}, a hook being
                        {"name", "seconds", "default": "ABANDON", "global_seconds"}
    GET    fleet?group  its instances: state, IMDS target, target health, hooks that hold them
    POST   fleet/order  {"group", "instance": that of IMDS, "order": scale-in, refresh, terminate
                        ("decrement": false), enter-standby, exit-standby, detach, leave-pool or
                        warm ("pool": "Stopped", "hook": "launch")}
    POST   notice       {"spot": {"action", "seconds"}, "rebalance": {}, "scheduled": [{"code",
                        "seconds"}]}, each or null
    POST   imds         {path below meta-data: value, or null}; GET reads them
    POST   imds/fault   {"kind": 401, 403, 404, 500, 503, "hang" or "garbage", "times": null,
                        "path": part of the paths}; DELETE takes all back
    POST   imds/expire  makes every token invalid
    POST   rds          {"seconds": {"snapshot", "copy", "restore"}, "status": {identifier: status
                        or null}, "quota": snapshots of a region, or null}
    POST   fault        {"action": an action of Auto Scaling, ELBv2, RDS or KMS, null: any, "times":
                        null, "kind": "error" ("code", "status"), "lost" or "hang"}; DELETE takes
                        all back
    GET    journal      what happened, see `journal`; DELETE clears it
    POST   health       {"arn", "id", "state"}: the health of a registered target; null: healthy
"""

import json
import urllib.parse

from . import faults, fleet, imds, journal, lifecycle, load_balancing, notices, rds
from .world import LOCK


def read_fleet(query):
    return fleet.read(query.get("group", "web"))


def set_imds(changes):
    for path, value in changes.items():
        imds.set_item(path, value)
    return imds.OVERRIDES


def force_health(said):
    key = said["arn"], said["id"]
    load_balancing.FORCED_HEALTH.pop(key, None)
    if said["state"] is not None:
        load_balancing.FORCED_HEALTH[key] = said["state"]


# The body is the argument; without one, the query.
LEVERS = {
    ("POST", "fleet"): fleet.build,
    ("GET", "fleet"): read_fleet,
    ("POST", "fleet/order"): fleet.act,
    ("POST", "notice"): notices.give,
    ("GET", "imds"): lambda _: imds.OVERRIDES,
    ("POST", "imds"): set_imds,
    ("POST", "imds/fault"): faults.IMDS.add,
    ("DELETE", "imds/fault"): lambda _: faults.IMDS.clear(),
    ("POST", "imds/expire"): lambda _: imds.expire_tokens(),
    ("POST", "fault"): faults.CALLS.add,
    ("DELETE", "fault"): lambda _: faults.CALLS.clear(),
    ("GET", "journal"): lambda _: journal.read(),
    ("DELETE", "journal"): lambda _: journal.clear(),
    ("POST", "health"): force_health,
    ("POST", "rds"): rds.set_world,
}


def pull(method, path, query, body):
    """(status line, JSON as bytes)"""
    lever = LEVERS.get((method, path))
    if not lever:
        return "404 Not Found", b"{}"
    with LOCK:
        found = lever(json.loads(body) if body else dict(urllib.parse.parse_qsl(query)))
    return "200 OK", json.dumps({} if found is None else found).encode()


def reset():
    """With moto's own state everything goes that was set here."""
    with LOCK:
        imds.OVERRIDES.clear()
        load_balancing.FORCED_HEALTH.clear()
        lifecycle.departed.clear()
        faults.IMDS.clear()
        faults.CALLS.clear()
        journal.clear()
        rds.reset()
