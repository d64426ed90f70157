"""A server that takes its socket as fd 3 by itself: the LISTEN_FDS protocol, standard library only."""

import http.server
import os
import pathlib
import signal
import socket
import sys
import threading

RELEASE_FILE = pathlib.Path(__file__).with_name("VERSION")
RELEASE = RELEASE_FILE.read_text().strip() if RELEASE_FILE.exists() else "none"
FIRST_FD = 3


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = self.path.partition("?id=")[2]
        body = f"ok {query}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Release", RELEASE)
        self.send_header("X-Process", os.environ.get("GROUNDCREW_PROCESS", str(os.getpid())))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=FIRST_FD)
        self.server_address = self.socket.getsockname()


def main():
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        sys.exit("LISTEN_FDS and LISTEN_PID do not say that fd 3 is a socket for this process")
    server = Server()
    # shutdown() waits for serve_forever, which the handler interrupts: so in a thread of its own.
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start()
    )
    print(f"release {RELEASE} listens on {server.server_address[1]}", flush=True)
    server.serve_forever()


main()
