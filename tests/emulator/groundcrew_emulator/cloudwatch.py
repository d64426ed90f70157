"""CloudWatch over rpc-v2-cbor, which is all that the AWS SDK for Rust speaks.

Moto knows the JSON protocol: requests are translated to it, answers back.
"""

import datetime
import gzip
import io
import json
import re

import botocore.session
from moto.cloudwatch import models, responses
from moto.core.responses import ActionResult

from . import cbor

PATH = "/service/GraniteServiceVersion20100801/operation/"
NAMESPACE = "com.amazonaws.cloudwatch#"
METRIC_DATA_MAX = 1000

moto_statistics = models.Statistics.get_statistics_for_type
_model = None


def operation_output(operation):
    # botocore's model is 200 kB of JSON: loaded when the first call comes.
    global _model
    if _model is None:
        _model = botocore.session.get_session().get_service_model("cloudwatch")
    return _model.operation_model(operation).output_shape


def handle(application, environ, operation, body):
    """Answers one call: (status line, headers, bytes)."""
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        body = gzip.decompress(body)
    request = cbor.decode(body) if body else {}
    if operation == "PutMetricData" and len(request.get("MetricData") or []) > METRIC_DATA_MAX:
        status, answer = "400 Bad Request", error_body(
            "InvalidParameterValueException",
            "The collection MetricData must not have a size greater than 1000.",
        )
    else:
        status, answer = call_as_json(application, environ, operation, request)
    headers = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
    return status, headers, cbor.encode(answer)


def error_body(code, message):
    return {"__type": code if "#" in code else NAMESPACE + code, "message": message}


def call_as_json(application, environ, operation, request):
    content = json.dumps(request).encode()
    inner = dict(environ)
    inner.pop("HTTP_CONTENT_ENCODING", None)
    inner.update({
        "PATH_INFO": "/",
        "RAW_URI": "/",
        "REQUEST_URI": "/",
        "CONTENT_TYPE": "application/x-amz-json-1.0",
        "HTTP_X_AMZ_TARGET": "GraniteServiceVersion20100801." + operation,
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.input": io.BytesIO(content),
    })
    started = {}

    def start_response(status, _headers, _exc_info=None):
        started["status"] = status
        return lambda _data: None

    parts = application(inner, start_response)
    answer = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    status = started["status"]
    try:
        parsed = json.loads(answer) if answer.strip() else {}
    except ValueError:
        text = answer[:200].decode(errors="replace")
        return "500 Internal Server Error", error_body("InternalServiceFault", text)
    if status.startswith("2"):
        shape = operation_output(operation)
        return status, as_shape(shape, parsed) if shape else {}
    message = parsed.get("message") or parsed.get("Message") or ""
    return status, error_body(parsed.get("__type", "InternalServiceFault"), message)


def as_shape(shape, value):
    """JSON has one kind of number and no timestamps; CBOR clients are strict about both."""
    if value is None:
        return None
    kind = shape.type_name
    if kind == "structure":
        return {
            name: as_shape(shape.members[name], item)
            for name, item in value.items()
            if name in shape.members and item is not None
        }
    if kind == "list":
        return [as_shape(shape.member, item) for item in value]
    if kind == "map":
        return {key: as_shape(shape.value, item) for key, item in value.items()}
    if kind == "timestamp":
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        return cbor.Tag(1, float(value))
    if kind in ("double", "float"):
        return float(value)
    if kind in ("integer", "long"):
        return int(value)
    return value


def statistics_with_percentiles(self, statistic):
    match = re.fullmatch(r"p(\d+(?:\.\d+)?)", statistic or "")
    if not match:
        return moto_statistics(self, statistic)
    data = self.metric_data
    values = [float(one.value) for one in data if getattr(one, "value", None) is not None]
    if not values:
        values = [float(value) for one in data for value in getattr(one, "values", None) or []]
    if not values:
        return None
    rank = round(float(match.group(1)) / 100 * len(values)) - 1
    return sorted(values)[min(len(values) - 1, max(0, rank))]


def describe_alarm_history(_self):
    return ActionResult({"AlarmHistoryItems": []})


def install():
    """Replaces moto's methods."""
    models.Statistics.get_statistics_for_type = statistics_with_percentiles
    if not hasattr(responses.CloudWatchResponse, "describe_alarm_history"):
        responses.CloudWatchResponse.describe_alarm_history = describe_alarm_history
