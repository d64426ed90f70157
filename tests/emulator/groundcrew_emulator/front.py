"""The WSGI application before moto: IMDS, CloudWatch's CBOR, checksums, and the test's own levers.

Levers: GET /_emulator/ready; POST /_emulator/imds {"path": value or null};
POST /_emulator/health {"arn": ..., "id": ..., "state": ...}. POST /moto-api/reset clears them too.
"""

import io
import json
import traceback

from . import checksums

# The other services are imported when the first request for them comes: with moto's half of them
# that is a second, which a test that only needs S3 does not spend.

JSON = [("Content-Type", "application/json")]


def read_body(environ):
    """The whole body; moto reads it a second time."""
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        body = stream.read()
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body


def set_imds(changes):
    from . import imds

    for path, value in changes.items():
        if value is None:
            imds.OVERRIDES.pop(path, None)
        else:
            imds.OVERRIDES[path] = value


class Front:
    """Answers what moto cannot; everything else is moto's."""

    def __init__(self, moto):
        self.moto = moto

    def __call__(self, environ, start_response):
        try:
            own = self.answer(environ)
        except Exception as error:
            traceback.print_exc()
            own = "500 Internal Server Error", [], str(error).encode()
        if own is None:
            return self.moto(environ, start_response)
        status, headers, body = own
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def answer(self, environ):
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path.startswith("/latest/"):
            from . import imds

            return imds.handle(environ, method, path)
        if path.startswith("/_emulator/"):
            return self.lever(environ, method, path)
        if path == "/moto-api/reset":
            from . import imds, load_balancing

            imds.OVERRIDES.clear()
            load_balancing.FORCED_HEALTH.clear()
        if path.startswith("/service/GraniteServiceVersion20100801/"):
            from . import cloudwatch

            operation = path[len(cloudwatch.PATH) :]
            return cloudwatch.handle(self.moto, environ, operation, read_body(environ))
        if checksums.are_needed(environ):
            wrong = checksums.find_mismatch(environ, read_body(environ))
            if wrong:
                return checksums.refusal(wrong)
        return None

    def lever(self, environ, method, path):
        if path == "/_emulator/ready":
            return "200 OK", JSON, b"{}"
        if path == "/_emulator/imds":
            from . import imds

            if method == "POST":
                set_imds(json.loads(read_body(environ) or b"{}"))
            return "200 OK", JSON, json.dumps(imds.OVERRIDES).encode()
        if path == "/_emulator/health":
            from . import load_balancing

            forced = json.loads(read_body(environ))
            load_balancing.FORCED_HEALTH[forced["arn"], forced["id"]] = forced["state"]
            return "200 OK", JSON, b"{}"
        return "404 Not Found", JSON, b"{}"
