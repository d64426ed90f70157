"""Auto Scaling whose lifecycle hooks really hold instances.

Moto stores hooks and does nothing with them. Here a launching or terminating instance waits until
its hooks are completed or their heartbeat timeout passes, groups replace unhealthy instances,
instance refreshes make progress, and each step leaves an activity and an EventBridge event.

There is no background thread: time passes in `tick`, which runs before every Auto Scaling call and
every IMDS read.
"""

import datetime
import json
import sys
import threading
import time
import uuid

from moto.autoscaling import models, responses
from moto.autoscaling.exceptions import ValidationError
from moto.core.responses import ActionResult, EmptyResult
from moto.events import events_backends

from . import settings

LOCK = threading.RLock()
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
RUNNING_REFRESH = ("Pending", "InProgress")
HEARTBEAT_SECONDS_DEFAULT = 3600

Group = models.FakeAutoScalingGroup
Backend = models.AutoScalingBackend
Response = responses.AutoScalingResponse
# Moto's own versions of what is replaced below.
moto_replace_instances = Group.replace_autoscaling_group_instances
moto_set_desired_capacity = Group.set_desired_capacity
moto_call_action = Response.call_action


class RefreshInProgress(ValidationError):
    """A second refresh while one runs."""

    code = "InstanceRefreshInProgress"


class NoActiveRefresh(ValidationError):
    """Cancelling a refresh when none runs."""

    code = "ActiveInstanceRefreshNotFound"


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


class Wait:
    """One hook that holds one instance."""

    def __init__(self, hook):
        self.hook = hook
        self.token = str(uuid.uuid4())
        self.heartbeat()

    def heartbeat(self):
        self.deadline = time.time() + (self.hook.heartbeat_timeout or HEARTBEAT_SECONDS_DEFAULT)


# What a group and an instance remember beyond moto's own attributes.


def activities(group):
    return group.__dict__.setdefault("emulator_activities", [])


def refreshes(group):
    return group.__dict__.setdefault("emulator_refreshes", [])


def notifications(group):
    return group.__dict__.setdefault("emulator_notifications", {})


def waits(instance):
    return instance.__dict__.setdefault("emulator_waits", {})


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


def record_activity(group, description):
    now = utc_now()
    activities(group).insert(0, {
        "ActivityId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "Description": description,
        "Cause": f"At {now:%Y-%m-%dT%H:%M:%SZ} the emulator was asked to.",
        "StartTime": now,
        "EndTime": now,
        "StatusCode": "Successful",
        "Progress": 100,
        "Details": "{}",
    })


# Lifecycle


def hold(group, instance, transition):
    """Puts the instance into its wait state; False when the group has no hook for this."""
    every = group.autoscaling_backend.lifecycle_hooks.values()
    hooks = [
        hook
        for hook in every
        if hook.auto_scaling_group_name == group.name and hook.lifecycle_transition == transition
    ]
    if not hooks:
        return False
    instance.emulator_waits = {hook.name: Wait(hook) for hook in hooks}
    instance.emulator_transition = transition
    launching = transition == LAUNCHING
    instance.lifecycle_state = "Pending:Wait" if launching else "Terminating:Wait"
    for name, wait in instance.emulator_waits.items():
        emit(
            group,
            f"EC2 Instance-{'launch' if launching else 'terminate'} Lifecycle Action",
            LifecycleActionToken=wait.token,
            LifecycleHookName=name,
            EC2InstanceId=instance.instance_id,
            LifecycleTransition=transition,
        )
    return True


def replace_instances(self, count, propagated_tags):
    with LOCK:
        before = len(self.instance_states)
        moto_replace_instances(self, count, propagated_tags)
        for instance in self.instance_states[before:]:
            record_activity(self, f"Launching a new EC2 instance: {instance.instance_id}")
            if not hold(self, instance, LAUNCHING):
                emit(self, "EC2 Instance Launch Successful", EC2InstanceId=instance.instance_id)


def active_instances(self):
    return [
        instance
        for instance in self.instance_states
        if instance.lifecycle_state == "InService"
        or instance.lifecycle_state.startswith("Pending")
    ]


def set_desired_capacity(self, capacity):
    with LOCK:
        active = self.active_instances()
        if capacity is None or capacity >= len(active):
            moto_set_desired_capacity(self, capacity)
            return
        self.desired_capacity = capacity
        unprotected = [one for one in active if not one.protected_from_scale_in]
        for instance in unprotected[: len(active) - capacity]:
            begin_termination(self, instance)


def deregister(group, instance):
    """Takes the instance out of the group's target groups. Answers when the draining is over."""
    over = time.time()
    for arn in group.target_group_arns or []:
        target_group = group.autoscaling_backend.elbv2_backend.target_groups.get(arn)
        if target_group and instance.instance_id in target_group.targets:
            target_group.deregister([{"Id": instance.instance_id}])
            over = max(over, time.time() + settings.drain_seconds(target_group))
    return over


def begin_termination(group, instance):
    """Target groups first, hooks after the draining: the order AWS documents."""
    record_activity(group, f"Terminating EC2 instance: {instance.instance_id}")
    instance.lifecycle_state = "Terminating"
    instance.emulator_drained_at = deregister(group, instance)
    continue_termination(group, instance)


def continue_termination(group, instance):
    if time.time() >= instance.emulator_drained_at and not hold(group, instance, TERMINATING):
        finish_termination(group, instance)


def finish_termination(group, instance):
    if instance in group.instance_states:
        group.instance_states.remove(instance)
    deregister(group, instance)
    try:
        group.autoscaling_backend.ec2_backend.terminate_instances([instance.instance_id])
    except Exception as error:
        # The test may have terminated it by hand; the group lets go of it all the same.
        print(f"emulator: terminate {instance.instance_id}: {error}", file=sys.stderr)
    emit(group, "EC2 Instance Terminate Successful", EC2InstanceId=instance.instance_id)


def replace(group, instance):
    """Terminates one instance and launches what is missing then."""
    begin_termination(group, instance)
    group.set_desired_capacity(group.desired_capacity)


def complete(group, instance, hook_name, result):
    """A hook was completed, or timed out with its default result."""
    waits(instance).pop(hook_name)
    if instance.emulator_transition == LAUNCHING:
        if result == "ABANDON":
            instance.emulator_waits = {}
            finish_termination(group, instance)
            group.set_desired_capacity(group.desired_capacity)
        elif not waits(instance):
            instance.lifecycle_state = "InService"
            emit(group, "EC2 Instance Launch Successful", EC2InstanceId=instance.instance_id)
    elif result == "ABANDON" or not waits(instance):
        instance.emulator_waits = {}
        finish_termination(group, instance)


def find_instance(backend, instance_id):
    for group in backend.autoscaling_groups.values():
        for instance in group.instance_states:
            if instance.instance_id == instance_id:
                return group, instance
    raise ValidationError(
        "Instance Id not found - No managed instance found for instance ID: " + instance_id
    )


def find_wait(backend, group_name, hook_name, instance_id, token):
    group = backend.autoscaling_groups.get(group_name)
    for instance in group.instance_states if group else []:
        wait = waits(instance).get(hook_name)
        if not wait or (instance_id is not None and instance.instance_id != instance_id):
            continue
        if not token or wait.token == token:
            return group, instance, wait
    raise ValidationError(
        f"No active Lifecycle Action found with instance ID {instance_id or token}"
    )


def terminate_instance(self, instance_id, should_decrement):
    with LOCK:
        group, instance = find_instance(self, instance_id)
        capacity_before = group.desired_capacity
        if should_decrement:
            group.desired_capacity = max(group.desired_capacity - 1, 0)
        begin_termination(group, instance)
        if not should_decrement:
            group.set_desired_capacity(group.desired_capacity)
        return models.TerminateInstanceActivity(instance.instance, capacity_before)


def set_instance_health(self, instance_id, health_status):
    _, instance = find_instance(self, instance_id)
    instance.emulator_unhealthy_at = time.time()
    instance.health_status = health_status


# Time


def tick(backend):
    """Lets time pass: drains, heartbeat timeouts, unhealthy instances, refreshes."""
    with LOCK:
        for group in list(backend.autoscaling_groups.values()):
            for instance in list(group.instance_states):
                tick_instance(group, instance)
            if refreshes(group):
                tick_refresh(group, refreshes(group)[0])


def tick_instance(group, instance):
    now = time.time()
    if instance.lifecycle_state == "Terminating":
        continue_termination(group, instance)
    for name, wait in list(waits(instance).items()):
        if now > wait.deadline and name in waits(instance):
            complete(group, instance, name, wait.hook.default_result or "ABANDON")
    suspended = [process["ProcessName"] for process in group.suspended_processes]
    if (
        instance.health_status == "Unhealthy"
        and instance.lifecycle_state == "InService"
        and "ReplaceUnhealthy" not in suspended
        and now > getattr(instance, "emulator_unhealthy_at", 0) + settings.UNHEALTHY_SECONDS
    ):
        replace(group, instance)


def tick_refresh(group, refresh):
    moving = any(
        ":" in instance.lifecycle_state or instance.lifecycle_state == "Terminating"
        for instance in group.instance_states
    )
    if refresh["Status"] not in RUNNING_REFRESH or moving:
        return
    refresh["Status"] = "InProgress"
    old = [one for one in group.instance_states if one.instance_id in refresh["_old"]]
    if old and time.time() > refresh["_next"]:
        replace(group, old.pop(0))
        refresh["_next"] = time.time() + refresh["_warmup"]
    elif not old:
        refresh.update(Status="Successful", EndTime=utc_now())
    refresh["InstancesToUpdate"] = len(old)
    refresh["PercentageComplete"] = int(100 * (1 - len(old) / max(len(refresh["_old"]), 1)))


# The calls. Each is a method of moto's response class: `self` is one request.


def call_action(self):
    tick(self.autoscaling_backend)
    return moto_call_action(self)


def requested_group(request):
    name = request._get_param("AutoScalingGroupName")
    group = request.autoscaling_backend.autoscaling_groups.get(name)
    if not group:
        raise ValidationError(
            f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"
        )
    return group


def requested_wait(request):
    return find_wait(
        request.autoscaling_backend,
        request._get_param("AutoScalingGroupName"),
        request._get_param("LifecycleHookName"),
        request._get_param("InstanceId"),
        request._get_param("LifecycleActionToken"),
    )


def record_lifecycle_action_heartbeat(self):
    with LOCK:
        requested_wait(self)[2].heartbeat()
    return EmptyResult()


def complete_lifecycle_action(self):
    with LOCK:
        group, instance, wait = requested_wait(self)
        complete(group, instance, wait.hook.name, self._get_param("LifecycleActionResult"))
    return EmptyResult()


def start_instance_refresh(self):
    group = requested_group(self)
    every = refreshes(group)
    if every and every[0]["Status"] in RUNNING_REFRESH:
        raise RefreshInProgress(
            "An Instance Refresh is already in progress and blocks the execution of this "
            "Instance Refresh."
        )
    preferences = self._get_param("Preferences") or {}
    refresh = {
        "InstanceRefreshId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "Status": "Pending",
        "StartTime": utc_now(),
        "PercentageComplete": 0,
        "InstancesToUpdate": len(group.instance_states),
        "Preferences": preferences,
        # Names with an underscore stay inside.
        "_old": [instance.instance_id for instance in group.instance_states],
        "_next": 0,
        "_warmup": float(preferences.get("InstanceWarmup") or 0),
    }
    every.insert(0, refresh)
    return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


def describe_instance_refreshes(self):
    ids = self._get_param("InstanceRefreshIds") or []
    return ActionResult({"InstanceRefreshes": [
        {key: value for key, value in refresh.items() if not key.startswith("_")}
        for refresh in refreshes(requested_group(self))
        if not ids or refresh["InstanceRefreshId"] in ids
    ]})


def end_refresh(request, status):
    every = refreshes(requested_group(request))
    if not every or every[0]["Status"] not in RUNNING_REFRESH:
        raise NoActiveRefresh("No in progress or pending Instance Refresh found.")
    every[0].update(Status=status, EndTime=utc_now())
    return ActionResult({"InstanceRefreshId": every[0]["InstanceRefreshId"]})


def cancel_instance_refresh(self):
    return end_refresh(self, "Cancelled")


def rollback_instance_refresh(self):
    return end_refresh(self, "RollbackSuccessful")


def describe_scaling_activities(self):
    name = self._get_param("AutoScalingGroupName")
    found = []
    for group in self.autoscaling_backend.autoscaling_groups.values():
        if not name or group.name == name:
            found += activities(group)
    return ActionResult({"Activities": found[: int(self._get_param("MaxRecords") or 100)]})


def put_notification_configuration(self):
    topic = self._get_param("TopicARN")
    notifications(requested_group(self))[topic] = self._get_param("NotificationTypes") or []
    return EmptyResult()


def describe_notification_configurations(self):
    return ActionResult({"NotificationConfigurations": [
        {"AutoScalingGroupName": group.name, "TopicARN": topic, "NotificationType": kind}
        for group in self.autoscaling_backend.autoscaling_groups.values()
        for topic, kinds in notifications(group).items()
        for kind in kinds
    ]})


def install():
    """Replaces moto's methods."""
    Group.replace_autoscaling_group_instances = replace_instances
    Group.active_instances = active_instances
    Group.set_desired_capacity = set_desired_capacity
    Backend.terminate_instance = terminate_instance
    Backend.set_instance_health = set_instance_health
    Response.call_action = call_action
    for call in (
        record_lifecycle_action_heartbeat,
        complete_lifecycle_action,
        start_instance_refresh,
        describe_instance_refreshes,
        cancel_instance_refresh,
        rollback_instance_refresh,
        describe_scaling_activities,
        put_notification_configuration,
        describe_notification_configurations,
    ):
        setattr(Response, call.__name__, call)
