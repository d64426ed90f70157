"""Fails when a second plan wants anything but what the emulator forgets: `terraform show -json` on stdin.

Each line of FORGOTTEN stands, with its reason, in terraform/tests/emulator.md. One that is forgotten no more
fails as well: the list is what there is.
"""

import json
import sys

# Type of resource -> attributes that the emulator does not give back as they were set.
FORGOTTEN = {
    "aws_autoscaling_group": {
        "capacity_reservation_specification", "default_instance_warmup", "instance_maintenance_policy",
    },
    "aws_autoscaling_policy": {"enabled", "predictive_scaling_configuration"},
    "aws_db_instance": {
        "network_type", "performance_insights_enabled", "performance_insights_kms_key_id",
        "performance_insights_retention_period",
    },
    "aws_db_parameter_group": {"parameter"},
    "aws_launch_template": {"tag_specifications"},
    "aws_sqs_queue": {"redrive_policy"},
    "aws_vpc_security_group_egress_rule": {"description"},
    "aws_vpc_security_group_ingress_rule": {"description"},
}
# What is only known when a change was applied comes after it.
FOLLOWS = {"aws_launch_template": {"default_version", "latest_version"}}


def differences(change):
    before, after = change["before"] or {}, change["after"] or {}
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def main():
    unexpected, met = [], {}
    for resource in json.load(sys.stdin)["resource_changes"]:
        kind, change = resource["type"], resource["change"]
        if change["actions"] in (["no-op"], ["read"]):
            continue
        found = differences(change)
        known = FORGOTTEN.get(kind, set())
        if change["actions"] != ["update"] or found - known - FOLLOWS.get(kind, set()):
            unexpected.append(f"{resource['address']}: {' and '.join(change['actions'])}: {sorted(found)}")
        met.setdefault(kind, set()).update(found & known)
    unexpected += [
        f"{kind}: the emulator has learned {sorted(names - met.get(kind, set()))}: take them from the list"
        for kind, names in FORGOTTEN.items() if names - met.get(kind, set())
    ]
    if unexpected:
        sys.exit("\n".join(unexpected))


main()
