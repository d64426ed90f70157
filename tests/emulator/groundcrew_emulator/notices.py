"""Notices as the instance's metadata words them, so that a test only says what and how soon."""

import datetime
import json

from . import imds
from .autoscaling import utc_now

SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
SCHEDULED = "events/maintenance/scheduled"
EVENT_SECONDS = 7200


def later(seconds):
    # The metadata knows whole seconds: what is left is never more than the test said.
    return (utc_now() + datetime.timedelta(seconds=seconds)).replace(microsecond=0)


def spot(said):
    """{"action": "terminate", "seconds": 120}"""
    at = imds.timestamp(later(said.get("seconds", 120)))
    return {"action": said.get("action", "terminate"), "time": at}


def rebalance(_said):
    return {"noticeTime": imds.timestamp(utc_now())}


def scheduled(said):
    """[{"code": "instance-stop", "seconds": 600}, ...]"""

    def event(number, one):
        begins = one.get("seconds", 600)
        text = "{:%d %b %Y %H:%M:%S} GMT"
        return {
            "NotBefore": text.format(later(begins)),
            "NotAfter": text.format(later(begins + EVENT_SECONDS)),
            "Code": one["code"],
            "Description": f"The instance is scheduled for {one['code']}",
            "EventId": one.get("id", f"instance-event-{number:017x}"),
            "State": one.get("state", "active"),
        }

    return json.dumps([event(number, one) for number, one in enumerate(said)])


WORDS = {"spot": (SPOT, spot), "rebalance": (REBALANCE, rebalance),
         "scheduled": (SCHEDULED, scheduled)}


def give(said):
    """Each of "spot", "rebalance" and "scheduled" that is named; null takes it back."""
    for kind, what in said.items():
        path, word = WORDS[kind]
        imds.set_item(path, None if what is None else word(what))
