"""How an instance moves through its group: states, hooks that hold it, targets that drain.

A walk is a generator: what the group does with the instance, in AWS's order. It yields conditions
and goes on when they hold; `advance` is how time reaches it. An instance is on one walk at most.
"""

import json
import sys
import time
import uuid

from moto.events import events_backends

from . import journal, load_balancing, settings

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
HEARTBEAT_SECONDS_DEFAULT = 3600
GLOBAL_SECONDS_MAX = 172_800
NOT_YET, AT_ONCE = (lambda: False), (lambda: True)

# Instances that their group has let go of: IMDS goes on telling them where they were taken.
departed = {}


class Wait:
    """One hook that holds one instance."""

    def __init__(self, hook):
        self.hook = hook
        self.token = str(uuid.uuid4())
        self.global_deadline = time.monotonic() + hook.global_timeout
        self.heartbeat()

    def heartbeat(self):
        timeout = self.hook.heartbeat_timeout or HEARTBEAT_SECONDS_DEFAULT
        self.deadline = min(time.monotonic() + timeout, self.global_deadline)


def global_timeout(heartbeat_timeout):
    """No heartbeat makes a hook hold an instance for longer."""
    return min(100 * heartbeat_timeout, GLOBAL_SECONDS_MAX)


# What an instance remembers beyond moto's own attributes.


def waits(instance):
    return instance.__dict__.setdefault("emulator_waits", {})


def target_state(instance):
    """The steady state that the group takes the instance to, as IMDS has it."""
    return instance.__dict__.get("emulator_target", "InService")


def is_moving(instance):
    return instance.__dict__.get("emulator_walk") is not None


def set_target(instance, state):
    instance.emulator_target = state
    journal.note("target", instance=instance.instance_id, state=state)


def set_state(instance, state):
    instance.lifecycle_state = state
    journal.note("state", instance=instance.instance_id, state=state)


def emit(group, detail_type, **detail):
    """Puts an event on the default EventBridge bus, as Auto Scaling does."""
    backend = group.autoscaling_backend
    event = {
        "Source": "aws.autoscaling",
        "DetailType": detail_type,
        "Detail": json.dumps({"AutoScalingGroupName": group.name, **detail}),
        "Resources": [group.arn],
    }
    try:
        events_backends[backend.account_id][backend.region_name].put_events([event])
    except Exception as error:
        # An event rule of a test that cannot be delivered must not change what the group does.
        print(f"emulator: could not put event {detail_type!r}: {error}", file=sys.stderr)


# Walking


def start(instance, walk):
    """Puts the instance on a walk; one that it is on ends where it is."""
    instance.emulator_waits = {}
    instance.emulator_walk = walk
    instance.emulator_until = AT_ONCE
    advance(instance)


def advance(instance):
    """Walks on for as long as nothing has to be waited for."""
    while is_moving(instance) and instance.emulator_until():
        walk = instance.emulator_walk
        # While the walk runs nobody may walk on, which its own steps could bring about.
        instance.emulator_until = NOT_YET
        try:
            until = next(walk)
        except StopIteration:
            until = None
        if instance.emulator_walk is walk:
            instance.emulator_walk = walk if until else None
            instance.emulator_until = until or NOT_YET


def over(moment):
    return lambda: time.monotonic() >= moment


def step(group):
    """A state that passes by itself lasts so long."""
    return time.monotonic() + getattr(group, "emulator_step_seconds", settings.STEP_SECONDS)


def held(group, instance, state, transition):
    """Waits for the group's hooks. Ends with their result; None: there are none."""
    hooks = [
        hook
        for hook in group.autoscaling_backend.lifecycle_hooks.values()
        if hook.auto_scaling_group_name == group.name and hook.lifecycle_transition == transition
    ]
    if not hooks:
        return None
    instance.emulator_waits = {hook.name: Wait(hook) for hook in hooks}
    instance.emulator_result = "CONTINUE"
    set_state(instance, state)
    kind = "launch" if transition == LAUNCHING else "terminate"
    for name, wait in instance.emulator_waits.items():
        journal.note("hook", instance=instance.instance_id, hook=name, state="holding")
        emit(
            group,
            f"EC2 Instance-{kind} Lifecycle Action",
            LifecycleActionToken=wait.token,
            LifecycleHookName=name,
            EC2InstanceId=instance.instance_id,
            LifecycleTransition=transition,
        )
    yield lambda: not waits(instance)
    return instance.emulator_result


def complete(instance, hook_name, result, by):
    """A hook was completed, or timed out with its default result."""
    waits(instance).pop(hook_name)
    journal.note(
        "hook", instance=instance.instance_id, hook=hook_name, state="done", by=by, result=result
    )
    if result == "ABANDON":
        # The others are skipped, whichever way the instance goes.
        instance.emulator_result = result
        instance.emulator_waits = {}
    advance(instance)


def time_out(instance):
    """Ends the waits whose time is over, in the order in which it was."""
    now = time.monotonic()
    for name, wait in sorted(waits(instance).items(), key=lambda one: one[1].deadline):
        if now > wait.deadline and name in waits(instance):
            by = "global timeout" if wait.deadline == wait.global_deadline else "timeout"
            complete(instance, name, wait.hook.default_result or "ABANDON", by)


# Target groups


def target_groups(group):
    every = group.autoscaling_backend.elbv2_backend.target_groups
    return [every[arn] for arn in group.target_group_arns or [] if arn in every]


def register(group, instance):
    """Puts the instance into the group's target groups, once each: Auto Scaling does not put back
    what somebody else took out."""
    done = instance.__dict__.setdefault("emulator_target_groups", set())
    for target_group in target_groups(group):
        if target_group.arn not in done:
            done.add(target_group.arn)
            target = {"Id": instance.instance_id, "Port": target_group.port}
            target_group.register([target])


def deregister(group, instance):
    """Takes the instance out of the group's target groups. Answers when the draining is over."""
    instance.emulator_target_groups = set()
    drained_at = time.monotonic()
    for target_group in target_groups(group):
        target_group.deregister([{"Id": instance.instance_id}])
        drained_at = max(drained_at, load_balancing.drained_at(target_group, instance.instance_id))
    return drained_at


# The walks


def launch(group, instance):
    """The hook first, the target groups after it."""
    set_target(instance, "InService")
    set_state(instance, "Pending")
    yield over(step(group))
    result = yield from held(group, instance, "Pending:Wait", LAUNCHING)
    if result == "ABANDON":
        yield from abandon(group, instance)
        return
    if result:
        set_state(instance, "Pending:Proceed")
        yield over(step(group))
    enter_service(group, instance)
    emit(group, "EC2 Instance Launch Successful", EC2InstanceId=instance.instance_id)


def enter_service(group, instance):
    register(group, instance)
    set_state(instance, "InService")


def launch_into_pool(group, instance, pool_state, transition=LAUNCHING):
    """Into the warm pool. One that comes back from service is held by the terminate hooks."""
    set_target(instance, f"Warmed:{pool_state}")
    set_state(instance, "Warmed:Pending")
    yield over(max(deregister(group, instance), step(group)))
    result = yield from held(group, instance, "Warmed:Pending:Wait", transition)
    if result == "ABANDON":
        yield from abandon(group, instance)
        return
    if result:
        set_state(instance, "Warmed:Pending:Proceed")
        yield over(step(group))
    set_state(instance, f"Warmed:{pool_state}")


def terminate(group, instance):
    """The target groups first, the hook after the draining."""
    warmed = "Warmed:" if instance.lifecycle_state.startswith("Warmed:") else ""
    set_target(instance, f"{warmed}Terminated")
    set_state(instance, f"{warmed}Terminating")
    yield over(max(deregister(group, instance), step(group)))
    if (yield from held(group, instance, f"{warmed}Terminating:Wait", TERMINATING)):
        set_state(instance, f"{warmed}Terminating:Proceed")
        yield over(step(group))
    finish(group, instance)


def abandon(group, instance):
    """A launch that failed: terminated, without its hooks, and replaced."""
    warmed = "Warmed:" if instance.lifecycle_state.startswith("Warmed:") else ""
    set_target(instance, f"{warmed}Terminated")
    set_state(instance, f"{warmed}Terminating")
    yield over(max(deregister(group, instance), step(group)))
    finish(group, instance)
    if not warmed:
        group.set_desired_capacity(group.desired_capacity)


def enter_standby(group, instance):
    set_target(instance, "Standby")
    set_state(instance, "EnteringStandby")
    yield over(max(deregister(group, instance), step(group)))
    set_state(instance, "Standby")


def exit_standby(group, instance):
    """Back without hooks: they are for instances that are launched."""
    set_target(instance, "InService")
    set_state(instance, "Pending")
    yield over(step(group))
    enter_service(group, instance)


def detach(group, instance):
    set_target(instance, "Detached")
    set_state(instance, "Detaching")
    yield over(max(deregister(group, instance), step(group)))
    let_go(group, instance, "Detached")


def let_go(group, instance, state):
    if instance in group.instance_states:
        group.instance_states.remove(instance)
    departed[instance.instance_id] = instance
    set_state(instance, state)


def finish(group, instance):
    let_go(group, instance, target_state(instance))
    try:
        group.autoscaling_backend.ec2_backend.terminate_instances([instance.instance_id])
    except Exception as error:
        # The test may have terminated it by hand; the group lets go of it all the same.
        print(f"emulator: terminate {instance.instance_id}: {error}", file=sys.stderr)
    emit(group, "EC2 Instance Terminate Successful", EC2InstanceId=instance.instance_id)
