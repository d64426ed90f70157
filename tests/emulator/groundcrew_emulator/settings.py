"""How fast the emulated world moves. Read once from the environment when the server starts."""

import os

ACCOUNT = "123456789012"

# How long a database snapshot stays `creating`.
SNAPSHOT_SECONDS = float(os.environ.get("EMULATOR_SNAPSHOT_SECONDS", "0.5"))
# How long a deregistered target drains; unset: what the target group's attribute says.
DRAIN_SECONDS = os.environ.get("EMULATOR_DRAIN_SECONDS")
# How long an instance may be unhealthy before its group replaces it.
UNHEALTHY_SECONDS = float(os.environ.get("EMULATOR_UNHEALTHY_SECONDS", "2"))


def drain_seconds(target_group):
    """How long a target of this group drains after it was deregistered."""
    if DRAIN_SECONDS is not None:
        return float(DRAIN_SECONDS)
    return float(target_group.attributes.get("deregistration_delay.timeout_seconds", 300))
