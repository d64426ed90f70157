"""The WSGI application before moto: IMDS, CloudWatch's CBOR, checksums, and the test's own levers.

`levers` has the levers, below /_emulator/; POST /moto-api/reset takes back what they did.
"""

import io
import traceback

from . import calls, checksums

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


class Front:
    """Answers what moto cannot; everything else is moto's."""

    def __init__(self, moto):
        self.moto = moto

    def __call__(self, environ, start_response):
        try:
            own = self.answer(environ)
        except ConnectionAbortedError:
            # An answer that a test has lost; the server knows how to break a connection.
            raise
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
            from . import levers

            levers.reset()
        if calls.service_of(environ):
            return calls.handle(self.moto, environ, calls.service_of(environ), read_body(environ))
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
        from . import levers

        query = environ.get("QUERY_STRING", "")
        name = path.removeprefix("/_emulator/")
        status, body = levers.pull(method, name, query, read_body(environ))
        return status, JSON, body
