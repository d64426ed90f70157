"""The server process: binds, says where it listens, ends with whoever started it."""

import argparse
import importlib
import logging
import os
import sys
import threading

# Both are read while moto is imported.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")

from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

from .front import Front  # noqa: E402


# Services of moto that are changed here, and what they lack for Terraform's provider.
CHANGED = (
    "autoscaling", "buckets", "budgets", "certificates", "cloudwatch", "load_balancing", "logs",
    "queues", "rds", "refreshes", "scaling_policies", "traffic_sources",
)


def build(changed=CHANGED):
    """The whole application, with moto's own behaviour in the services that are not `changed`."""
    for name in changed:
        importlib.import_module("." + name, __package__).install()
    return Front(DomainDispatcherApplication(create_backend_app))


def end_with_stdin():
    """A starter that is killed cannot stop its server; the pipe it held closes all the same."""

    def wait():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def main():
    parser = argparse.ArgumentParser(prog="groundcrew_emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5600, help="0: any free one")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when stdin reaches its end, so that no server outlives its test",
    )
    parser.add_argument(
        "--s3-only",
        action="store_true",
        help="leave the other services as moto has them: ready in half the time",
    )
    options = parser.parse_args()
    if options.until_stdin_closes:
        end_with_stdin()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Keep-alive: without it every call of an SDK is a new connection.
    MotoRequestHandler.protocol_version = "HTTP/1.1"
    server = make_server(
        options.host,
        options.port,
        build(() if options.s3_only else CHANGED),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
    os.environ.setdefault("MOTO_PORT", str(server.port))
    print(f"listening on http://{options.host}:{server.port}", flush=True)
    server.serve_forever()
