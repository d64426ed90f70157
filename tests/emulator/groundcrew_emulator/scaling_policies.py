"""Scaling policies whose names are their group's own: in moto two groups share those of one name."""

from moto.autoscaling import models, responses
from moto.core.responses import EmptyResult

Backend = models.AutoScalingBackend
Response = responses.AutoScalingResponse
moto_put_scaling_policy = Backend.put_scaling_policy


def put_scaling_policy(self, name, *rest, **more):
    policy = moto_put_scaling_policy(self, name, *rest, **more)
    self.policies[policy.auto_scaling_group_name, name] = self.policies.pop(name)
    return policy


def named(request):
    """The key of the policy that a request names, by its name or its ARN."""
    name, group = request._get_param("PolicyName"), request._get_param("AutoScalingGroupName")
    for key, policy in request.autoscaling_backend.policies.items():
        if name in (policy.name, policy.arn) and group in (None, policy.auto_scaling_group_name):
            return key
    return None


def delete_policy(self):
    self.autoscaling_backend.policies.pop(named(self), None)
    return EmptyResult()


def execute_policy(self):
    self.autoscaling_backend.policies[named(self)].execute()
    return EmptyResult()


def install():
    """Replaces moto's methods."""
    Backend.put_scaling_policy = put_scaling_policy
    Response.delete_policy = delete_policy
    Response.execute_policy = execute_policy
