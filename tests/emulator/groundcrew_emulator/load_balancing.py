"""ELBv2 targets that drain for the deregistration delay, and health that a test can force."""

import time

from moto.elbv2 import models

from . import settings

# (target group arn, target id) -> state, set through POST /_emulator/health.
FORCED_HEALTH = {}
REASONS = {"unhealthy": "Target.FailedHealthChecks", "initial": "Elb.RegistrationInProgress"}

moto_deregister = models.FakeTargetGroup.deregister
moto_describe_target_health = models.ELBv2Backend.describe_target_health


def draining(target_group):
    """target id -> (until, port)"""
    return target_group.__dict__.setdefault("emulator_draining", {})


def deregister(self, targets):
    moto_deregister(self, targets)
    until = time.time() + settings.drain_seconds(self)
    for target in targets:
        draining(self)[target["Id"]] = (until, target.get("Port") or self.port)


def is_asked_for(targets, target_id, port):
    if not targets:
        return True
    return any(
        target["Id"] == target_id and str(target.get("Port") or port) == str(port)
        for target in targets
    )


def describe_target_health(self, arn, targets):
    found = moto_describe_target_health(self, arn, targets)
    target_group = self.target_groups[arn]
    for target_id, (until, port) in list(draining(target_group).items()):
        if time.time() > until or target_id in target_group.targets:
            del draining(target_group)[target_id]
        elif is_asked_for(targets, target_id, port):
            found = [health for health in found if health.instance_id != target_id]
            found.append(models.FakeHealthStatus(
                target_id,
                port,
                getattr(target_group, "healthcheck_port", None),
                "draining",
                "Target.DeregistrationInProgress",
                "Target deregistration is in progress",
            ))
    for health in found:
        forced = FORCED_HEALTH.get((arn, health.instance_id))
        if forced and health.status == "healthy":
            health.status = forced
            health.reason = REASONS.get(forced)
    return found


def install():
    """Replaces moto's methods."""
    models.FakeTargetGroup.deregister = deregister
    models.ELBv2Backend.describe_target_health = describe_target_health
