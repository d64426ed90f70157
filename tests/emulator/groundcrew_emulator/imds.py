"""The instance metadata service, version 2, of one instance of the emulated account.

The instance is the one named by `instance-id` in OVERRIDES, else the first that exists. Every path
can be set or unset by a test through POST /_emulator/imds, which is how notices are made;
`faults.IMDS` has what goes wrong with the answers.
"""

import base64
import datetime
import json
import secrets
import time

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends

from . import autoscaling, faults, journal, lifecycle
from .settings import ACCOUNT
from .world import LOCK

# Path below /latest/meta-data/ -> text, or anything else as JSON.
OVERRIDES = {}
TOKENS = {}
TOKEN_SECONDS_MAX = 21_600
ROLE = "agent-role"
META_DATA = "/latest/meta-data"
# What a proxy in the way may answer with: neither UTF-8 nor anything else that is expected.
GARBAGE = b"<html>\xff\xfe{\"action\": \x00"


def set_item(path, value):
    """What IMDS says at this path from now on; None: what it says by itself."""
    if value is None:
        OVERRIDES.pop(path, None)
    else:
        OVERRIDES[path] = value


def answer(text, status="200 OK", headers=()):
    return status, [("Content-Type", "text/plain"), *headers], text.encode()


def timestamp(moment):
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def handle(environ, method, path):
    """Answers one request below /latest/: (status line, headers, bytes)."""
    fault = faults.IMDS.take(lambda rule: rule.get("path", "") in path)
    if fault:
        journal.count_imds(path, str(fault["kind"]))
        return go_wrong(environ, fault["kind"])
    found = find_answer(environ, method, path)
    journal.count_imds(path, found[0].split()[0])
    return found


def go_wrong(environ, kind):
    if kind == "hang":
        faults.hang(environ)
    if kind == "garbage":
        return "200 OK", [("Content-Type", "text/html")], GARBAGE
    return answer("", f"{int(kind)} Fault")


def expire_tokens():
    """Every token is invalid at once, as if its time were over."""
    TOKENS.clear()


def find_answer(environ, method, path):
    if path == "/latest/api/token":
        return issue_token(environ, method)
    token = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
    if TOKENS.get(token, 0) < time.time():
        return answer("", "401 Unauthorized")
    with LOCK:
        return find_item(path)


def find_item(path):
    instance_id, member, instance = find_instance()
    if path == "/latest/dynamic/instance-identity/document":
        return answer(json.dumps(identity_document(instance_id, instance)))
    if not path.startswith(META_DATA):
        return answer("", "404 Not Found")
    key = path[len(META_DATA) :].strip("/")
    values = meta_data(instance_id, member, instance)
    if values.get(key) is not None:
        return answer(values[key])
    if key == "":
        names = {name.split("/")[0] + ("/" if "/" in name else "") for name in values}
        return answer("\n".join(sorted(names)))
    return answer("", "404 Not Found")


def issue_token(environ, method):
    if method != "PUT":
        return answer("", "405 Method Not Allowed")
    seconds = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
    if not seconds.isdigit() or not 1 <= int(seconds) <= TOKEN_SECONDS_MAX:
        return answer("", "400 Bad Request")
    token = base64.b64encode(secrets.token_bytes(40)).decode()
    TOKENS[token] = time.time() + int(seconds)
    # The SDK for Rust refuses a token without this header.
    return answer(token, headers=[("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", seconds)])


def find_instance():
    """(id, the group's view of it or None, EC2's view of it or None)"""
    wanted = OVERRIDES.get("instance-id")
    member = instance = None
    for account in list(autoscaling_backends.keys()):
        for backend in list(autoscaling_backends[account].values()):
            autoscaling.tick(backend)
            for group in backend.autoscaling_groups.values():
                for candidate in group.instance_states:
                    if wanted is None or candidate.instance_id == wanted:
                        wanted, member = candidate.instance_id, candidate
    member = member or lifecycle.departed.get(wanted)
    for backend in list(ec2_backends[ACCOUNT].values()):
        for candidate in backend.all_instances():
            if wanted is None or candidate.id == wanted:
                wanted, instance = candidate.id, candidate
    return wanted or "i-0123456789abcdef0", member, instance


def placement(instance):
    zone = instance.placement.zone if instance else "us-east-1a"
    return zone, zone[:-1]


def identity_document(instance_id, instance):
    zone, region = placement(instance)
    return {
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": zone,
        "imageId": instance.image_id if instance else "ami-1",
        "instanceId": instance_id,
        "instanceType": instance.instance_type if instance else "t3.micro",
        "privateIp": instance.private_ip if instance else "10.0.0.1",
        "region": region,
        "version": "2017-09-30",
        "pendingTime": timestamp(autoscaling.utc_now()),
    }


def credentials():
    now = autoscaling.utc_now()
    hours = float(OVERRIDES.get("cred-hours", 6))
    return json.dumps({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIATEST",
        "SecretAccessKey": "secret",
        "Token": "token",
        "LastUpdated": timestamp(now),
        "Expiration": timestamp(now + datetime.timedelta(hours=hours)),
    })


def meta_data(instance_id, member, instance):
    """Every path below /latest/meta-data/ with its text; None: 404."""
    zone, region = placement(instance)
    profile = f"arn:aws:iam::{ACCOUNT}:instance-profile/{ROLE}"
    values = {
        "instance-id": instance_id,
        "instance-type": instance.instance_type if instance else "t3.micro",
        "ami-id": instance.image_id if instance else "ami-1",
        "local-ipv4": instance.private_ip if instance else "10.0.0.1",
        "placement/availability-zone": zone,
        "placement/region": region,
        "instance-life-cycle": "spot" if OVERRIDES.get("spot/instance-action") else "on-demand",
        "services/domain": "amazonaws.com",
        # Without events the list is empty; the other notices do not exist until there is one.
        "events/maintenance/scheduled": "[]",
        "iam/security-credentials": ROLE,
        "iam/info": json.dumps({"Code": "Success", "InstanceProfileArn": profile}),
        f"iam/security-credentials/{ROLE}": credentials(),
    }
    if instance:
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        values["tags/instance"] = "\n".join(tags) if tags else None
        values.update({f"tags/instance/{name}": value for name, value in tags.items()})
    if member is not None:
        values["autoscaling/target-lifecycle-state"] = lifecycle.target_state(member)
    for path, value in OVERRIDES.items():
        values[path] = value if isinstance(value, str) else json.dumps(value)
    return values
