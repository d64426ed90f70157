"""S3's configuration of buckets: how many old versions a lifecycle keeps, and policies.

Moto leaves `NewerNoncurrentVersions` out, cannot read a policy whose principal is "*" where it looks for
the right to write logs, and denies whatever a statement would deny under a condition.
"""

import fnmatch
import json

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3 import models, responses

LOGGING = "logging.s3.amazonaws.com"

Bucket = models.FakeBucket
moto_set_lifecycle = Bucket.set_lifecycle
moto_get_lifecycle = responses.S3Response.get_bucket_lifecycle


def set_lifecycle(self, rules):
    moto_set_lifecycle(self, rules)
    for rule, said in zip(self.rules, rules, strict=True):
        expiration = said.get("NoncurrentVersionExpiration") or {}
        rule.emulator_newer_versions = expiration.get("NewerNoncurrentVersions")


def get_permission(self, action, resource):
    """Conditions are not known here, such as that of TLS: what has one neither allows nor denies."""
    if self.policy is None:
        return PermissionResult.NEUTRAL
    document = json.loads(self.policy)
    statements = [one for one in as_list(document["Statement"]) if "Condition" not in one]
    if not statements:
        return PermissionResult.NEUTRAL
    policy = IAMPolicy(json.dumps({**document, "Statement": statements}))
    return policy.is_action_permitted(action, resource)


def as_list(value):
    return value if isinstance(value, list) else [value]


def may_be_logged_to(target_bucket, target_prefix):
    """Whether the bucket's policy lets S3 write logs below the prefix."""
    if not target_bucket.policy:
        return False
    wanted = f"{target_bucket.arn}/{target_prefix or ''}log"
    for statement in as_list(json.loads(target_bucket.policy)["Statement"]):
        principal = statement.get("Principal")
        if (
            statement.get("Effect") == "Allow"
            and isinstance(principal, dict)
            and LOGGING in as_list(principal.get("Service"))
            and "s3:PutObject" in as_list(statement.get("Action"))
            and any(fnmatch.fnmatchcase(wanted, one) for one in as_list(statement.get("Resource")))
        ):
            return True
    return False


def get_bucket_lifecycle(self):
    rules = self.backend.get_bucket_lifecycle(self.bucket_name)
    if not rules:
        return moto_get_lifecycle(self)

    def serialized(answer):
        for rule, shown in zip(rules, answer.result["Rules"], strict=True):
            newer = getattr(rule, "emulator_newer_versions", None)
            if newer:
                shown["NoncurrentVersionExpiration"]["NewerNoncurrentVersions"] = newer
        return type(self).serialized(self, answer)

    # Of this request only.
    self.serialized = serialized
    return moto_get_lifecycle(self)


def install():
    """Replaces moto's methods."""
    Bucket.set_lifecycle = set_lifecycle
    Bucket.get_permission = get_permission
    Bucket._log_permissions_enabled_policy = staticmethod(may_be_logged_to)
    responses.S3Response.get_bucket_lifecycle = get_bucket_lifecycle
