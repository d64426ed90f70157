"""How fast the emulated world moves. Read once from the environment when the server starts."""

import os

ACCOUNT = "123456789012"
# Where tests make their groups.
REGION = "us-east-1"

# How long a database snapshot stays `creating`.
SNAPSHOT_SECONDS = float(os.environ.get("EMULATOR_SNAPSHOT_SECONDS", "0.5"))
# How long a deregistered target drains; unset: what the target group's attribute says.
DRAIN_SECONDS = os.environ.get("EMULATOR_DRAIN_SECONDS")
# How long an instance is in a state that passes by itself, such as Pending or Terminating:Proceed.
STEP_SECONDS = float(os.environ.get("EMULATOR_STEP_SECONDS", "0"))
# How long an instance may be unhealthy before its group replaces it.
UNHEALTHY_SECONDS = float(os.environ.get("EMULATOR_UNHEALTHY_SECONDS", "2"))


def drain_seconds(target_group):
    """How long a target of this group drains after it was deregistered."""
    # A test's own groups drain in fractions of a second, which the attribute cannot say.
    seconds = getattr(target_group, "emulator_drain_seconds", DRAIN_SECONDS)
    if seconds is not None:
        return float(seconds)
    return float(target_group.attributes.get("deregistration_delay.timeout_seconds", 300))
