"""Auto Scaling's traffic sources, as far as they are target groups: a newer name of what moto has."""

from moto.autoscaling import responses
from moto.core.responses import ActionResult, EmptyResult

from .world import LOCK

Response = responses.AutoScalingResponse
KIND = "elbv2"


def requested(request):
    """(the group's name, ARNs of target groups)"""
    sources = request._get_param("TrafficSources") or []
    arns = [one["Identifier"] for one in sources if one.get("Type", KIND) == KIND]
    return request._get_param("AutoScalingGroupName"), arns


def attach_traffic_sources(self):
    with LOCK:
        self.autoscaling_backend.attach_load_balancer_target_groups(*requested(self))
    return EmptyResult()


def detach_traffic_sources(self):
    with LOCK:
        self.autoscaling_backend.detach_load_balancer_target_groups(*requested(self))
    return EmptyResult()


def describe_traffic_sources(self):
    name = self._get_param("AutoScalingGroupName")
    arns = self.autoscaling_backend.describe_load_balancer_target_groups(name)
    return ActionResult({"TrafficSources": [
        {"Identifier": arn, "TrafficSource": arn, "Type": KIND, "State": "InService"}
        for arn in arns
    ]})


def install():
    """Adds to moto's methods."""
    for call in (attach_traffic_sources, detach_traffic_sources, describe_traffic_sources):
        setattr(Response, call.__name__, call)
