"""A group for a test in one go, and the ways to move its instances: see `levers`.

Hooks and drains may last fractions of a second here, which AWS's own calls do not let one ask for.
"""

import math

from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from . import autoscaling, imds, lifecycle, refreshes
from .autoscaling import own_backend as backend
from .settings import ACCOUNT, REGION

IMAGE = "ami-12c6146b"
INSTANCE_TYPE = "t3.micro"
DRAIN_SECONDS_DEFAULT = 1.0
HOOK_SECONDS_DEFAULT = 30
TRANSITIONS = {"launch": lifecycle.LAUNCHING, "terminate": lifecycle.TERMINATING}


def build(plan):
    """Makes the group. IMDS is that of its first instance from now on, also when that is gone."""
    name = plan.get("group", "web")
    for transition, hooks in (plan.get("hooks") or {}).items():
        for hook in hooks if isinstance(hooks, list) else [hooks]:
            add_hook(name, transition, hook or {})
    target_groups = []
    subnet = ec2_backends[ACCOUNT][REGION].describe_subnets()[0]
    if plan.get("target_group", True):
        target_groups.append(add_target_group(name, subnet.vpc_id, plan))
    add_group(name, target_groups, subnet, plan)
    status = read(name)
    if status["instances"]:
        imds.OVERRIDES["instance-id"] = status["instances"][0]["id"]
    return status


def add_hook(group_name, transition, plan):
    name, seconds = plan.get("name", transition), plan.get("seconds", HOOK_SECONDS_DEFAULT)
    result = plan.get("default", "ABANDON")
    hook = backend().create_lifecycle_hook(
        name, group_name, TRANSITIONS[transition], seconds, result
    )
    hook.global_timeout = plan.get("global_seconds", hook.global_timeout)


def add_target_group(name, vpc_id, plan):
    seconds = plan.get("drain_seconds", DRAIN_SECONDS_DEFAULT)
    target_group = elbv2_backends[ACCOUNT][REGION].create_target_group(
        name, protocol="HTTP", port=plan.get("port", 80), vpc_id=vpc_id, target_type="instance"
    )
    target_group.emulator_drain_seconds = seconds
    target_group.attributes["deregistration_delay.timeout_seconds"] = math.ceil(seconds)
    return target_group.arn


def add_group(name, target_groups, subnet, plan):
    arguments = dict.fromkeys([
        "key_name", "kernel_id", "ramdisk_id", "user_data", "instance_profile_name", "spot_price"
    ])
    template = {}
    if plan.get("template"):
        data = {"ImageId": IMAGE, "InstanceType": INSTANCE_TYPE}
        made = ec2_backends[ACCOUNT][REGION].create_launch_template(name, "first", data, {})
        template = {"LaunchTemplateId": made.id, "Version": str(plan["template"])}
    else:
        backend().create_launch_configuration(
            name, IMAGE, security_groups=[], instance_type=INSTANCE_TYPE,
            instance_monitoring=False, ebs_optimized=False, associate_public_ip_address=False,
            block_device_mappings=[], **arguments,
        )
    arguments = dict.fromkeys([
        "default_cooldown", "health_check_period", "health_check_type", "placement_group"
    ])
    # Empty at first: what its instances go through depends on what is set before they come.
    group = backend().create_auto_scaling_group(
        name, availability_zones=[], desired_capacity=0, max_size=plan.get("max", 100),
        min_size=plan.get("min", 0), launch_config_name=None if template else name,
        launch_template=template, vpc_zone_identifier=subnet.id,
        load_balancers=[], target_group_arns=target_groups, termination_policies=[], tags=[],
        **arguments,
    )
    group.emulator_step_seconds = plan.get("step_seconds", 0)
    instances = plan.get("instances", 1)
    if plan.get("warm_pool"):
        # In the pool they do not count as capacity.
        group.emulator_launches_into = plan["warm_pool"]
        group.replace_autoscaling_group_instances(instances, {})
        group.emulator_launches_into = None
    else:
        group.set_desired_capacity(instances)


def read(name):
    """The group as it is now, with instances that it has let go of."""
    autoscaling.tick(backend())
    group = backend().autoscaling_groups[name]
    gone = [one for one in lifecycle.departed.values() if one.auto_scaling_group is group]
    return {
        "group": name,
        "desired_capacity": group.desired_capacity,
        "target_groups": group.target_group_arns,
        "instances": [read_instance(group, one) for one in [*group.instance_states, *gone]],
    }


def read_instance(group, instance):
    elb = elbv2_backends[ACCOUNT][REGION]
    described = {
        arn: elb.describe_target_health(arn, [{"Id": instance.instance_id}])
        for arn in group.target_group_arns
    }
    return {
        "id": instance.instance_id,
        "state": instance.lifecycle_state,
        "target": lifecycle.target_state(instance),
        "health": {arn: found[0].status for arn, found in described.items()},
        "hooks": sorted(lifecycle.waits(instance)),
    }


# What a person or an alarm would do. `order` is the lever's body.


def scale_in(group, _instance, _order):
    group.set_desired_capacity(max(group.desired_capacity - 1, 0))


def terminate(_group, instance, order):
    backend().terminate_instance(instance.instance_id, order.get("decrement", False))


def refresh(group, _instance, _order):
    refreshes.begin(group, {})


def enter_standby(group, instance, order):
    ids = [instance.instance_id]
    backend().enter_standby_instances(group.name, ids, order.get("decrement", True))


def exit_standby(group, instance, _order):
    backend().exit_standby_instances(group.name, [instance.instance_id])


def detach(group, instance, order):
    ids = [instance.instance_id]
    backend().detach_instances(group.name, ids, order.get("decrement", True))


def warm(group, instance, order):
    """Into the warm pool, as if launched there or, with "hook": "terminate", back from service."""
    transition = TRANSITIONS[order.get("hook", "launch")]
    if instance.lifecycle_state == "InService":
        group.desired_capacity = max(group.desired_capacity - 1, 0)
    walk = lifecycle.launch_into_pool(group, instance, order.get("pool", "Stopped"), transition)
    lifecycle.start(instance, walk)


def leave_pool(group, instance, _order):
    group.desired_capacity += 1
    lifecycle.start(instance, lifecycle.launch(group, instance))


ORDERS = {
    "scale-in": scale_in,
    "terminate": terminate,
    "refresh": refresh,
    "enter-standby": enter_standby,
    "exit-standby": exit_standby,
    "detach": detach,
    "warm": warm,
    "leave-pool": leave_pool,
}


def act(order):
    """Carries out {"group", "order", "instance": that of IMDS unless given, ...}."""
    name = order.get("group", "web")
    group = backend().autoscaling_groups[name]
    wanted = order.get("instance") or imds.OVERRIDES.get("instance-id")
    instance = next((one for one in group.instance_states if one.instance_id == wanted), None)
    ORDERS[order["order"]](group, instance, order)
    return read(name)
