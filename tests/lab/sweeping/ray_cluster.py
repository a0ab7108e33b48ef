"""A Ray cluster of this machine's for tests: one a session, with two cores that its workers have."""

import contextlib
import os
import time
import warnings

HANGS = 600  # seconds, after which something is taken for dead


@contextlib.contextmanager
def forking():
    """Ray's processes are forked from this one, of which JAX warns; they become other programs at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        yield


def wait_until(condition):
    """Until it holds; an error where it never does."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < HANGS
        time.sleep(0.05)


def is_alive(pid):
    """Whether a process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def marked(name, value):
    """The processes that have a variable in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                environment = file.read().split(b"\0")
            if f"{name}={value}".encode() in environment and is_alive(pid):
                found.append(int(pid))
    return found
