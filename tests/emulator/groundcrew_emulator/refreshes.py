"""Instance refreshes that bring a version of a launch template, and go back from it, as AWS does;
launch templates whose new versions build upon others; capacity within its bounds.

While a refresh runs, whatever the group launches has what the refresh brings. The group itself is
described as before until the refresh has succeeded.
"""

import time
import uuid

from moto.autoscaling import models, responses
from moto.autoscaling.exceptions import ValidationError
from moto.core.responses import ActionResult
from moto.ec2.responses.launch_templates import LaunchTemplates

from . import autoscaling, lifecycle
from .autoscaling import named_group, record_activity, requested_group, utc_now
from .world import LOCK

ACTIVE = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")

Group = models.FakeAutoScalingGroup
Response = responses.AutoScalingResponse
moto_create_version = LaunchTemplates.create_launch_template_version
# Versions by the token of the request that made them.
made = {}


class RefreshInProgress(ValidationError):
    """A second refresh while one runs."""

    code = "InstanceRefreshInProgress"


class NoActiveRefresh(ValidationError):
    """Cancelling a refresh when none runs."""

    code = "ActiveInstanceRefreshNotFound"


class Irreversible(ValidationError):
    """Rolling back what has no way back."""

    code = "IrreversibleInstanceRefresh"


class ScalingInProgress(ValidationError):
    """A change of capacity while a cooldown lasts."""

    code = "ScalingActivityInProgress"


# What a group and its instances remember beyond moto's own attributes.


def refreshes(group):
    return group.__dict__.setdefault("emulator_refreshes", [])


def plan_of(group):
    """What a test wants of its refreshes: {"hold", "fail": {"reason", "after"}}."""
    return group.__dict__.setdefault("emulator_refresh_plan", {})


def launches(group):
    """The version that is launched now, by its number; None: there is no template."""
    template = group.ec2_launch_template
    if template is None:
        return None
    version = template.get_version(group.launch_template_version)
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": str(version.number),
    }


def replace_instances(self, count, propagated_tags):
    with LOCK:
        before = set(map(id, self.instance_states))
        autoscaling.replace_instances(self, count, propagated_tags)
        for instance in self.instance_states:
            if id(instance) not in before:
                instance.emulator_template = launches(self)


def version_of(instance):
    return (instance.__dict__.get("emulator_template") or {}).get("Version")


# Time


def tick(group):
    every = refreshes(group)
    moving = any(lifecycle.is_moving(instance) for instance in group.instance_states)
    if not every or every[0]["Status"] not in ACTIVE or moving:
        return
    refresh, plan = every[0], plan_of(group)
    if refresh["Status"] == "Cancelling":
        end(group, refresh, "Cancelled", "Cancelled due to user request.")
    elif plan.get("hold") and refresh["Status"] != "RollbackInProgress":
        if refresh["Status"] == "Pending":
            refresh["Status"] = "InProgress"
            refresh["StatusReason"] = "Waiting for instances to warm up before continuing."
    elif refresh["Status"] == "Baking":
        if time.time() > refresh["_next"]:
            end(group, refresh, "Successful")
    else:
        step(group, refresh, plan)


def step(group, refresh, plan):
    """Replaces one instance, or comes to the end."""
    back = refresh["Status"] == "RollbackInProgress"
    if not back:
        refresh["Status"] = "InProgress"
        refresh.pop("StatusReason", None)
    old = [one for one in group.instance_states if one.instance_id in refresh["_old"]]
    fail = plan.get("fail")
    if fail and not back and refresh["_replaced"] >= fail.get("after", 0):
        fall(group, refresh, fail["reason"])
        return
    if old and time.time() > refresh["_next"]:
        autoscaling.replace(group, old.pop(0))
        refresh["_replaced"] += 1
        refresh["_next"] = time.time() + refresh["_warmup"]
    elif not old and back:
        end(group, refresh, "RollbackSuccessful")
    elif not old and refresh["Preferences"].get("BakeTime"):
        refresh["Status"] = "Baking"
        refresh["_next"] = time.time() + int(refresh["Preferences"]["BakeTime"])
    elif not old:
        end(group, refresh, "Successful")
    if not back:
        refresh["InstancesToUpdate"] = len(old)
        done = 1 - len(old) / max(len(refresh["_old"]), 1)
        refresh["PercentageComplete"] = int(100 * done)


def fall(group, refresh, reason):
    """It has failed: back, if that was wanted."""
    if refresh["Preferences"].get("AutoRollback"):
        go_back(group, refresh, reason)
    else:
        end(group, refresh, "Failed", reason)


def go_back(group, refresh, reason):
    new = version_of_launch(group)
    set_version(group, group.provided_launch_template_version)
    refresh["_old"] = [
        one.instance_id for one in group.instance_states if version_of(one) == new
    ]
    refresh["RollbackDetails"] = {"RollbackReason": reason, "RollbackStartTime": utc_now()}
    refresh.update(Status="RollbackInProgress", _next=0)


def version_of_launch(group):
    return (launches(group) or {}).get("Version")


def set_version(group, version):
    if group.ec2_launch_template is not None:
        group.launch_template_version = version


def end(group, refresh, status, reason=None):
    refresh.update(Status=status, EndTime=utc_now())
    refresh.pop("StatusReason", None)
    if reason:
        refresh["StatusReason"] = reason
    if status == "Successful":
        refresh["PercentageComplete"] = 100
        if group.ec2_launch_template is not None:
            group.provided_launch_template_version = group.launch_template_version
    elif group.ec2_launch_template is not None:
        set_version(group, group.provided_launch_template_version)


# The calls. Each is a method of moto's response class: `self` is one request.


def truthy(value):
    return value is True or str(value).lower() == "true"


def begin(group, preferences, desired=None):
    every = refreshes(group)
    if every and every[0]["Status"] in ACTIVE:
        raise RefreshInProgress(
            "An Instance Refresh is already in progress and blocks the execution of this "
            "Instance Refresh."
        )
    preferences = {**preferences}
    for flag in ("AutoRollback", "SkipMatching"):
        preferences[flag] = truthy(preferences.get(flag))
    if preferences["AutoRollback"] and not can_go_back(group, desired):
        raise ValidationError(
            "The AutoRollback parameter cannot be set to true when the DesiredConfiguration "
            "parameter is empty, or the group has no numbered version of a launch template."
        )
    old = list(group.instance_states)
    if desired:
        wanted = desired["LaunchTemplate"]
        if wanted["LaunchTemplateId"] != group.ec2_launch_template.id:
            raise ValidationError("The emulator brings versions of the group's own template only.")
        number = group.ec2_launch_template.get_version(wanted["Version"]).number
        set_version(group, str(number))
        if preferences["SkipMatching"]:
            old = [one for one in old if version_of(one) != str(number)]
    refresh = {
        "InstanceRefreshId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "Status": "Pending",
        "StartTime": utc_now(),
        "PercentageComplete": 0,
        "InstancesToUpdate": len(old),
        "Preferences": preferences,
        # Names with an underscore stay inside.
        "_old": [instance.instance_id for instance in old],
        "_replaced": 0,
        "_next": 0,
        "_warmup": float(preferences.get("InstanceWarmup") or 0),
    }
    if desired:
        refresh["DesiredConfiguration"] = desired
    every.insert(0, refresh)
    return refresh["InstanceRefreshId"]


def can_go_back(group, desired):
    numbered = str(getattr(group, "provided_launch_template_version", None) or "").isdigit()
    return bool(desired) and numbered


def start_instance_refresh(self):
    with LOCK:
        group = requested_group(self)
        desired = self._get_param("DesiredConfiguration")
        refresh_id = begin(group, self._get_param("Preferences") or {}, desired)
        return ActionResult({"InstanceRefreshId": refresh_id})


def describe_instance_refreshes(self):
    ids = self._get_param("InstanceRefreshIds") or []
    found = [
        {key: value for key, value in refresh.items() if not key.startswith("_")}
        for refresh in refreshes(requested_group(self))
        if not ids or refresh["InstanceRefreshId"] in ids
    ]
    return ActionResult({"InstanceRefreshes": found[: int(self._get_param("MaxRecords") or 50)]})


def active_refresh(request):
    group = requested_group(request)
    every = refreshes(group)
    if not every or every[0]["Status"] not in ACTIVE:
        raise NoActiveRefresh("No in progress or pending Instance Refresh found.")
    return group, every[0]


def cancel_instance_refresh(self):
    with LOCK:
        _, refresh = active_refresh(self)
        refresh.update(Status="Cancelling", StatusReason="Cancelling due to user request.")
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


def rollback_instance_refresh(self):
    with LOCK:
        group, refresh = active_refresh(self)
        if not can_go_back(group, refresh.get("DesiredConfiguration")):
            raise Irreversible("The instance refresh cannot be rolled back.")
        go_back(group, refresh, "User requested the rollback.")
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


def set_desired_capacity(self):
    with LOCK:
        group = requested_group(self)
        wanted = int(self._get_param("DesiredCapacity"))
        for what, bound, out in (
            ("above max", group.max_size, wanted > group.max_size),
            ("below min", group.min_size, wanted < group.min_size),
        ):
            if out:
                raise ValidationError(
                    f"New SetDesiredCapacity value {wanted} is {what} value {bound} for the "
                    "AutoScalingGroup."
                )
        until = getattr(group, "emulator_cooldown_until", 0)
        if truthy(self._get_param("HonorCooldown")) and time.time() < until:
            raise ScalingInProgress("Scaling activity in progress, cooldown period not elapsed.")
        if wanted != group.desired_capacity:
            group.emulator_cooldown_until = time.time() + group.default_cooldown
        self.autoscaling_backend.set_desired_capacity(group.name, wanted)
        return ActionResult({})


def create_launch_template_version(self):
    """Moto takes the new data alone; AWS lays it over the source's, once for each token."""
    token = self._get_param("ClientToken")
    if token in made:
        return made[token]
    source = self._get_param("SourceVersion")
    template = self.ec2_backend.get_launch_template(self._get_param("LaunchTemplateId"))
    answer = moto_create_version(self)
    version = template.latest_version()
    if source:
        version.data = {**template.get_version(source).data, **version.data}
        answer.result["LaunchTemplateVersion"]["LaunchTemplateData"] = version.data
    if token:
        made[token] = answer
    return answer


# What a test does: see `levers`.


def set_plan(said):
    group = named_group(autoscaling.own_backend(), said.get("group", "web"))
    plan_of(group).clear()
    plan_of(group).update(said)


def add_failure(said):
    """An activity that came to nothing, such as a launch without capacity."""
    group = named_group(autoscaling.own_backend(), said.get("group", "web"))
    record_activity(group, said["description"])
    autoscaling.activities(group)[0].update(StatusCode="Failed", StatusMessage=said["reason"])


def reset():
    made.clear()


def install():
    """Replaces moto's methods; after `autoscaling`, whose own are built upon."""
    Group.replace_autoscaling_group_instances = replace_instances
    moto_template = models.InstanceState.launch_template.fget
    models.InstanceState.launch_template = property(
        lambda one: one.__dict__.get("emulator_template") or moto_template(one)
    )
    autoscaling.TICKS.append(tick)
    for call in (
        start_instance_refresh,
        describe_instance_refreshes,
        cancel_instance_refresh,
        rollback_instance_refresh,
        set_desired_capacity,
    ):
        setattr(Response, call.__name__, call)
    LaunchTemplates.create_launch_template_version = create_launch_template_version
