"""What goes wrong on a test's command: with IMDS answers, with Auto Scaling and ELBv2 calls."""

import socket
import threading


class Faults:
    """Rules, the newest first; each for the next so many requests, or for all until cleared."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []

    def add(self, rule):
        """`rule` has "times" (null: until cleared) and whatever `take` is asked for."""
        times = rule.get("times")
        with self.lock:
            self.rules.insert(0, {**rule, "times": None if times is None else int(times)})

    def take(self, matches):
        """The rule for a request, used up by one; None: nothing goes wrong."""
        with self.lock:
            for rule in self.rules:
                if rule["times"] != 0 and matches(rule):
                    if rule["times"] is not None:
                        rule["times"] -= 1
                    return rule
        return None

    def clear(self):
        """Requests that hang go on hanging, as those in a lost network would."""
        with self.lock:
            self.rules.clear()


IMDS = Faults()
CALLS = Faults()


def hang(environ):
    """Answers nothing for as long as the client waits."""
    connection = environ["werkzeug.socket"]
    # Ends with the client's end of the connection: it has said all it has to say.
    connection.recv(1, socket.MSG_PEEK)
    lose_answer(environ)


def lose_answer(environ):
    """Breaks the connection instead of answering."""
    try:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client was faster.
        pass
    raise ConnectionAbortedError("the answer is lost")
