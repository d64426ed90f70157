"""Auto Scaling whose lifecycle hooks really hold instances.

Moto stores hooks and does nothing with them. Here instances go the ways that `lifecycle` has,
groups replace unhealthy instances, and each step leaves an activity and an EventBridge event.
Instance refreshes are in `refreshes`.

Time passes in `tick`: on a thread, so that what happens by itself happens when it should, and
before every call and every IMDS read, so that none of them sees a past that is over.
"""

import datetime
import threading
import time
import traceback
import uuid

from moto.autoscaling import models, responses
from moto.autoscaling.exceptions import ValidationError
from moto.core.responses import ActionResult, EmptyResult

from . import lifecycle, settings
from .lifecycle import waits
from .world import LOCK

TICK_SECONDS = 0.01
# What else happens to each group as time passes.
TICKS = []

Group = models.FakeAutoScalingGroup
Backend = models.AutoScalingBackend
Response = responses.AutoScalingResponse
# Moto's own versions of what is replaced below.
moto_replace_instances = Group.replace_autoscaling_group_instances
moto_set_desired_capacity = Group.set_desired_capacity
moto_create_lifecycle_hook = Backend.create_lifecycle_hook
moto_create_auto_scaling_group = Response.create_auto_scaling_group
moto_call_action = Response.call_action


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


# What a group remembers beyond moto's own attributes.


def activities(group):
    return group.__dict__.setdefault("emulator_activities", [])


def notifications(group):
    return group.__dict__.setdefault("emulator_notifications", {})


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


# Capacity


def replace_instances(self, count, propagated_tags):
    with LOCK:
        before = len(self.instance_states)
        moto_replace_instances(self, count, propagated_tags)
        for instance in self.instance_states[before:]:
            record_activity(self, f"Launching a new EC2 instance: {instance.instance_id}")
            pool_state = getattr(self, "emulator_launches_into", None)
            if pool_state:
                walk = lifecycle.launch_into_pool(self, instance, pool_state)
            else:
                walk = lifecycle.launch(self, instance)
            lifecycle.start(instance, walk)


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


def begin_termination(group, instance):
    record_activity(group, f"Terminating EC2 instance: {instance.instance_id}")
    lifecycle.start(instance, lifecycle.terminate(group, instance))


def replace(group, instance):
    """Terminates one instance and launches what is missing then."""
    begin_termination(group, instance)
    group.set_desired_capacity(group.desired_capacity)


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
            return instance, wait
    what = f"token {token}" if token else f"instance ID {instance_id}"
    raise ValidationError(f"No active Lifecycle Action found with {what}")


def create_lifecycle_hook(self, name, as_name, transition, timeout, result):
    hook = moto_create_lifecycle_hook(self, name, as_name, transition, timeout, result)
    hook.global_timeout = lifecycle.global_timeout(hook.heartbeat_timeout)
    return hook


def update_attached_target_groups(self, group_name):
    """Moto would register whatever belongs to the group, launching and leaving instances too."""
    group = self.autoscaling_groups[group_name]
    with LOCK:
        for instance in group.instance_states:
            if instance.lifecycle_state == "InService":
                lifecycle.register(group, instance)


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


def own_backend():
    """That of the account and region in which tests make their groups."""
    return models.autoscaling_backends[settings.ACCOUNT][settings.REGION]


def named_group(backend, name):
    group = backend.autoscaling_groups.get(name)
    if not group:
        raise ValidationError(
            f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"
        )
    return group


def named_instances(backend, group_name, instance_ids, states):
    """Those instances of the group, which must be in one of `states`."""
    found = []
    for instance_id in instance_ids:
        group, instance = find_instance(backend, instance_id)
        if group.name != group_name:
            raise ValidationError(f"The instance {instance_id} is not part of Auto Scaling group "
                                  f"{group_name}.")
        if instance.lifecycle_state not in states:
            raise ValidationError(f"The instance {instance_id} is not in {' or '.join(states)}.")
        found.append(instance)
    return found


def take_out(backend, group_name, instance_ids, should_decrement, walk):
    """Sends instances on a walk out of service; without the decrement others replace them."""
    group = named_group(backend, group_name)
    states = ["InService"] if walk is lifecycle.enter_standby else ["InService", "Standby"]
    instances = named_instances(backend, group_name, instance_ids, states)
    for instance in instances:
        if should_decrement and instance.lifecycle_state == "InService":
            group.desired_capacity = max(group.desired_capacity - 1, 0)
        lifecycle.start(instance, walk(group, instance))
    group.set_desired_capacity(group.desired_capacity)
    return instances


def enter_standby_instances(self, group_name, instance_ids, should_decrement):
    with LOCK:
        before = named_group(self, group_name).desired_capacity
        out = take_out(self, group_name, instance_ids, should_decrement, lifecycle.enter_standby)
        return [models.EnterStandbyActivity(one.instance, before) for one in out]


def exit_standby_instances(self, group_name, instance_ids):
    with LOCK:
        group = named_group(self, group_name)
        before = group.desired_capacity
        instances = named_instances(self, group_name, instance_ids, ["Standby"])
        for instance in instances:
            group.desired_capacity += 1
            lifecycle.start(instance, lifecycle.exit_standby(group, instance))
        return [models.ExitStandbyActivity(one.instance, before) for one in instances]


def detach_instances(self, group_name, instance_ids, should_decrement):
    with LOCK:
        out = take_out(self, group_name, instance_ids, should_decrement, lifecycle.detach)
        for instance in out:
            tag = {models.ASG_NAME_TAG: group_name}
            self.ec2_backend.delete_tags([instance.instance_id], tag)
        return [models.DetachInstanceActivity(one.instance) for one in out]


def set_instance_health(self, instance_id, health_status):
    _, instance = find_instance(self, instance_id)
    instance.emulator_unhealthy_at = time.time()
    instance.health_status = health_status


# Time


def tick(backend):
    """Lets time pass: steps, drains, heartbeat timeouts, unhealthy instances, refreshes."""
    with LOCK:
        for group in list(backend.autoscaling_groups.values()):
            for instance in list(group.instance_states):
                tick_instance(group, instance)
            for step in TICKS:
                step(group)


def tick_all():
    with LOCK:
        for account in list(models.autoscaling_backends.values()):
            for backend in list(account.values()):
                tick(backend)


def run_clock():
    while True:
        time.sleep(TICK_SECONDS)
        try:
            tick_all()
        except Exception:
            # Said, and tried again: a clock that stopped would hang the tests without a word.
            traceback.print_exc()


def tick_instance(group, instance):
    now = time.time()
    lifecycle.time_out(instance)
    lifecycle.advance(instance)
    suspended = [process["ProcessName"] for process in group.suspended_processes]
    if (
        instance.health_status == "Unhealthy"
        and instance.lifecycle_state == "InService"
        and "ReplaceUnhealthy" not in suspended
        and now > getattr(instance, "emulator_unhealthy_at", 0) + settings.UNHEALTHY_SECONDS
    ):
        replace(group, instance)


# The calls. Each is a method of moto's response class: `self` is one request.


def call_action(self):
    with LOCK:
        tick(self.autoscaling_backend)
        return moto_call_action(self)


def create_auto_scaling_group(self):
    """Hooks that come with the group hold its first instances already."""
    for hook in self._get_param("LifecycleHookSpecificationList") or []:
        self.autoscaling_backend.create_lifecycle_hook(
            hook["LifecycleHookName"],
            self._get_param("AutoScalingGroupName"),
            hook["LifecycleTransition"],
            hook.get("HeartbeatTimeout"),
            hook.get("DefaultResult"),
        )
    return moto_create_auto_scaling_group(self)


def requested_group(request):
    return named_group(request.autoscaling_backend, request._get_param("AutoScalingGroupName"))


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
        requested_wait(self)[1].heartbeat()
    return EmptyResult()


def complete_lifecycle_action(self):
    with LOCK:
        instance, wait = requested_wait(self)
        result = self._get_param("LifecycleActionResult")
        lifecycle.complete(instance, wait.hook.name, result, "call")
    return EmptyResult()


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
    """Replaces moto's methods, and starts the clock."""
    Group.replace_autoscaling_group_instances = replace_instances
    Group.active_instances = active_instances
    Group.set_desired_capacity = set_desired_capacity
    for method in (
        create_lifecycle_hook,
        update_attached_target_groups,
        terminate_instance,
        enter_standby_instances,
        exit_standby_instances,
        detach_instances,
        set_instance_health,
    ):
        setattr(Backend, method.__name__, method)
    Response.call_action = call_action
    for call in (
        create_auto_scaling_group,
        record_lifecycle_action_heartbeat,
        complete_lifecycle_action,
        describe_scaling_activities,
        put_notification_configuration,
        describe_notification_configurations,
    ):
        setattr(Response, call.__name__, call)
    threading.Thread(target=run_clock, name="clock", daemon=True).start()
