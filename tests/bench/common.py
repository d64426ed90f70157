"""What the Python benchmarks share: peers as processes, wrk, and the one JSON line."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ["GROUNDCREW_CACHE"])
GROUNDCREW = os.environ["GROUNDCREW_BIN"]
READY_SECONDS_MAX = 60
PROCESSES = 2


def free_port():
    """A port below those that outgoing connections get, so that none of them takes it first."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue


def wait_until(what, look):
    """The first true answer of `look`."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    sys.exit(f"bench: {what}: not within {READY_SECONDS_MAX} s")


def answers(port, path="/version"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def find(name, *places):
    """The path of a program, or None: then its figures are `absent`."""
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    return shutil.which(name)


class Peer:
    """Something that serves the example app; a context manager that leaves no process."""

    name = "peer"

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="gc-bench-")
        self.home = pathlib.Path(self.directory.name)
        self.processes = []
        self.port = free_port()

    def __enter__(self):
        # A peer that fails to start has started some of its processes.
        try:
            self.start()
            wait_until(f"every process of {self.name} listens", self.is_complete)
            wait_until(f"{self.name} answers", lambda: answers(self.port))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_cause):
        self.stop()
        for process in reversed(self.processes):
            # Each is the leader of a group of its own.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.kill_leftovers()
        self.directory.cleanup()

    def start(self):
        raise NotImplementedError

    def is_complete(self):
        """Whether every process listens: one that is still starting is not what is measured."""
        return self.count_listening("output.log") == PROCESSES

    def count_listening(self, logs):
        return sum(read(log).count(b"listens\n") for log in self.home.glob(logs))

    def stop(self):
        pass

    def spawn(self, command, **more):
        """Starts a program in a group of its own, its output in the peer's directory."""
        environment = {**os.environ, "GC_BENCH": str(self.home), **more.pop("env", {})}
        more.setdefault("stdin", subprocess.DEVNULL)
        with open(self.home / "output.log", "ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
                **more,
            )
        self.processes.append(process)
        return process

    def kill_leftovers(self):
        """Processes in sessions of their own: what an agent or a daemon leaves running."""
        mark = str(self.home).encode()
        for _ in range(50):
            found = [pid for pid in processes() if mark in read(f"/proc/{pid}/environ")]
            if not found:
                return
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


WRK_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
WRK_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
WRK_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def wrk(port, seconds, new_connections=False):
    """(requests per second, errors)"""
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", f"http://127.0.0.1:{port}/?id=1"]
    if new_connections:
        command[1:1] = ["-H", "Connection: close"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    broken, wrong = WRK_ERRORS.search(output), WRK_STATUS.search(output)
    errors = sum(int(count) for match in (broken, wrong) if match for count in match.groups())
    return float(WRK_RATE.search(output)[1]), errors


def cpu_of(word):
    """CPU seconds so far of each process with a word in its command line, by pid."""
    spent = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "cmdline").read_bytes():
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
                spent[entry.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except FileNotFoundError:
            pass  # it ended in between
    return spent


def median(values):
    return round(statistics.median(values), 1)


def report(**figures):
    """The one line."""
    load = os.getloadavg()
    print(json.dumps({**figures, "load_average": load[0], "cores": os.cpu_count()}), flush=True)
