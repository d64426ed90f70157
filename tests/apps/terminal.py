"""Runs a command in a terminal of its own: terminal.py END MARK COMMAND...

Once it has drawn MARK, ends it by END, which is keys to press or the name of a signal. Prints as
JSON how it ended, and whether the terminal was taken over and is as it was.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

end, mark, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm-256color"
    # Long enough for the size to be set.
    select.select([], [], [], 0.2)
    os.execvp(command[0], command)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 32, 100, 0, 0))
before = termios.tcgetattr(terminal)
drawn = b""
ended = None
deadline = time.monotonic() + 20
while ended is None and time.monotonic() < deadline:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            drawn += os.read(terminal, 65536)
        except OSError:
            pass
    if mark.encode() in drawn and end:
        taken = termios.tcgetattr(terminal)[3] != before[3]
        if end.startswith("SIG"):
            os.kill(pid, signal.Signals[end])
        else:
            os.write(terminal, end.encode())
        end = ""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        ended = os.waitstatus_to_exitcode(status)
# What is still on its way.
while select.select([terminal], [], [], 0.1)[0]:
    try:
        drawn += os.read(terminal, 65536)
    except OSError:
        break
left = drawn.rfind(b"\x1b[?1049l") > drawn.find(b"\x1b[?1049h") >= 0
print(json.dumps({
    "ended": ended,
    "raw_meanwhile": not end and taken,
    "screen_given_back": left,
    "modes_as_before": termios.tcgetattr(terminal)[3] == before[3],
}))
if ended is None:
    os.kill(pid, signal.SIGKILL)
