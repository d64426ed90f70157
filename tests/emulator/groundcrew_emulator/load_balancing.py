"""ELBv2 targets that drain for the deregistration delay, and health that a test can force."""

import time

from moto.elbv2 import models, responses

from . import journal, settings
from .world import LOCK

# (target group arn, target id) -> state, set through POST /_emulator/health.
FORCED_HEALTH = {}
REASONS = {"unhealthy": "Target.FailedHealthChecks", "initial": "Elb.RegistrationInProgress"}

moto_register = models.FakeTargetGroup.register
moto_deregister = models.FakeTargetGroup.deregister
moto_describe_target_health = models.ELBv2Backend.describe_target_health
moto_call_action = responses.ELBV2Response.call_action


def draining(target_group):
    """target id -> (until, port)"""
    return target_group.__dict__.setdefault("emulator_draining", {})


def drained_at(target_group, target_id):
    """When the target has drained; it may have done so long ago."""
    until, _port = draining(target_group).get(target_id, (0, None))
    return until


def register(self, targets):
    moto_register(self, targets)
    for target in targets:
        draining(self).pop(target["Id"], None)
        note(self, target["Id"], "registered")


def deregister(self, targets):
    """What is not registered is passed over, as AWS does; moto refuses it."""
    registered = [target for target in targets if target["Id"] in self.targets]
    moto_deregister(self, registered)
    for target in registered:
        note(self, target["Id"], "draining")
        until = time.monotonic() + settings.drain_seconds(self)
        draining(self)[target["Id"]] = (until, target.get("Port") or self.port)


def note(target_group, target_id, state):
    journal.note("health", instance=target_id, state=state, target_group=target_group.arn)


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
        if time.monotonic() > until or target_id in target_group.targets:
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


def call_action(self):
    with LOCK:
        return moto_call_action(self)


def install():
    """Replaces moto's methods."""
    responses.ELBV2Response.call_action = call_action
    models.FakeTargetGroup.register = register
    models.FakeTargetGroup.deregister = deregister
    models.ELBv2Backend.describe_target_health = describe_target_health
