"""The limits of PutLogEvents, and JSON patterns in FilterLogEvents."""

import json
import re

from moto.logs import models

EVENTS_MAX = 10_000
BATCH_BYTES_MAX = 1_048_576
# What CloudWatch counts for each event on top of its message.
EVENT_OVERHEAD_BYTES = 26
SPAN_MILLISECONDS_MAX = 24 * 3600 * 1000

JSON_PATTERN = re.compile(
    r'\{\s*\$\.([\w.\-]+)\s*(=|!=|>=|<=|>|<)\s*("(?:[^"]*)"|[-\d.]+|\w+)\s*\}'
)
CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}

moto_put_log_events = models.LogsBackend.put_log_events
moto_filter_log_events = models.LogStream.filter_log_events


def put_log_events(self, log_group_name, log_stream_name, log_events):
    """The signature is moto's: it calls this with names."""
    refuse = models.InvalidParameterException
    if len(log_events) > EVENTS_MAX:
        raise refuse(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: "
            f"Member must have length less than or equal to {EVENTS_MAX}"
        )
    sizes = (len(event["message"].encode()) + EVENT_OVERHEAD_BYTES for event in log_events)
    if sum(sizes) > BATCH_BYTES_MAX:
        raise refuse(f"Upload too large: bytes exceeds limit of {BATCH_BYTES_MAX}")
    times = [event["timestamp"] for event in log_events]
    # A batch that is not in order is refused by moto, with the message for that.
    if times and times == sorted(times) and times[-1] - times[0] > SPAN_MILLISECONDS_MAX:
        raise refuse(
            "The batch of log events in a single PutLogEvents request cannot span more than "
            "24 hours."
        )
    return moto_put_log_events(self, log_group_name, log_stream_name, log_events)


def parse_literal(text):
    if text.startswith('"'):
        return text[1:-1]
    if re.fullmatch(r"-?[\d.]+", text):
        return float(text)
    return CONSTANTS.get(text.upper(), text)


def matches(value, operator, wanted):
    if operator == "=":
        if isinstance(wanted, str) and "*" in wanted:
            return bool(re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), str(value)))
        return value == wanted
    if operator == "!=":
        return value != wanted
    try:
        if operator in (">", ">="):
            return value > wanted or (operator == ">=" and value == wanted)
        return value < wanted or (operator == "<=" and value == wanted)
    except TypeError:
        return False


def json_filter(pattern):
    """A predicate on messages; None when this is not a JSON pattern."""
    match = JSON_PATTERN.fullmatch(pattern.strip())
    if not match:
        return None
    path, operator, literal = match.groups()
    wanted = parse_literal(literal)

    def accepts(message):
        try:
            value = json.loads(message)
            for name in path.split("."):
                value = value[name]
        except (ValueError, KeyError, TypeError):
            return False
        return matches(value, operator, wanted)

    return accepts


def filter_log_events(self, start_time, end_time, filter_pattern):
    accepts = json_filter(filter_pattern) if filter_pattern else None
    if accepts is None:
        return moto_filter_log_events(self, start_time, end_time, filter_pattern)
    every = moto_filter_log_events(self, start_time, end_time, "")
    return [event for event in every if accepts(event["message"])]


def install():
    """Replaces moto's methods."""
    models.LogsBackend.put_log_events = put_log_events
    models.LogStream.filter_log_events = filter_log_events
