"""Calls of some services on their way to moto: recorded, and made to fail on command."""

import json
import re
import urllib.parse
import uuid

from . import faults, journal
from .settings import ACCOUNT

NAMESPACES = {
    "autoscaling": "http://autoscaling.amazonaws.com/doc/2011-01-01/",
    "elasticloadbalancing": "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
    "rds": "http://rds.amazonaws.com/doc/2014-10-31/",
}
# Those whose calls are JSON, and name their action in a header.
JSON_SERVICES = ("kms",)
# What AWS answers with, where a fault does not say it.
STATUSES = {"InternalFailure": 500, "ServiceUnavailable": 503, "AccessDenied": 403}
SCOPE = re.compile(r"/([a-z0-9-]+)/([a-z-]+)/aws4_request")


def service_of(environ):
    """The service, if it is one of those; moto too takes it from the signature's scope."""
    scope = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    known = scope and (scope.group(2) in NAMESPACES or scope.group(2) in JSON_SERVICES)
    return scope.group(2) if known else None


def read_call(environ, service, body):
    """(action, parameters)"""
    if service in JSON_SERVICES:
        action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        return action, json.loads(body or b"{}")
    parameters = dict(urllib.parse.parse_qsl(body.decode()))
    action = parameters.pop("Action", "")
    parameters.pop("Version", None)
    return action, parameters


def handle(application, environ, service, body):
    """(status line, headers, bytes)"""
    action, parameters = read_call(environ, service, body)
    region = SCOPE.search(environ["HTTP_AUTHORIZATION"]).group(1)
    entry = journal.note(
        "call", service=service, region=region, action=action, parameters=parameters, status=None,
        error=None, fault=None,
    )
    fault = faults.CALLS.take(lambda rule: rule.get("action") in (None, action))
    kind = fault and fault["kind"]
    entry["fault"] = kind
    if kind == "hang":
        faults.hang(environ)
    if kind == "error":
        status, headers, answer = refusal(service, action, fault)
    else:
        status, headers, answer = pass_on(application, environ)
    entry["status"] = int(status.split()[0])
    if entry["status"] >= 400:
        code = re.search(rb'<Code>(.*?)</Code>|"__type": ?"(?:.*#)?(.*?)"', answer)
        entry["error"] = (code.group(1) or code.group(2)).decode() if code else None
    if kind == "lost":
        faults.lose_answer(environ)
    return status, headers, answer


def pass_on(application, environ):
    started = {}

    def start_response(status, headers, _exc_info=None):
        started.update(status=status, headers=headers)
        return lambda _data: None

    parts = application(environ, start_response)
    answer = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    headers = [one for one in started["headers"] if one[0].lower() != "content-length"]
    return started["status"], headers, answer


def refusal(service, action, fault):
    code = fault.get("code") or "InternalFailure"
    status = int(fault.get("status") or STATUSES.get(code, 400))
    message = {
        "AccessDenied": f"User: arn:aws:sts::{ACCOUNT}:assumed-role/agent-role/agent is not "
        f"authorized to perform: {service}:{action} because no identity-based policy allows the "
        f"{service}:{action} action",
        "Throttling": "Rate exceeded",
    }.get(code, "The emulator was told to fail this call.")
    if service in JSON_SERVICES:
        answer = json.dumps({"__type": code, "message": message}).encode()
        return f"{status} {code}", [("Content-Type", "application/x-amz-json-1.1")], answer
    who = "Receiver" if status >= 500 else "Sender"
    document = (
        f'<ErrorResponse xmlns="{NAMESPACES[service]}"><Error><Type>{who}</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return f"{status} {code}", [("Content-Type", "text/xml")], document.encode()
