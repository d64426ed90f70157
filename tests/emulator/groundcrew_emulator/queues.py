"""SQS: which queues may name this one as their dead-letter queue, and attributes that stay.

Moto does not know `RedriveAllowPolicy`, and forgets a queue's policy when another attribute is set.
"""

from moto.sqs import models

Queue = models.Queue
moto_set_attributes = Queue._set_attributes


def set_attributes(self, attributes, now=None):
    """What is not named stays as it is."""
    policy = attributes.get("Policy", getattr(self, "policy", None))
    moto_set_attributes(self, {**attributes, "Policy": policy}, now)


def install():
    """Replaces moto's methods."""
    Queue.BASE_ATTRIBUTES = [*Queue.BASE_ATTRIBUTES, "RedriveAllowPolicy"]
    Queue.redrive_allow_policy = None
    Queue._set_attributes = set_attributes
