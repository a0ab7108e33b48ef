"""Ctrl-C and other requests to end, as handlers that never raise in the middle of somebody else's code.

Python's own handler raises KeyboardInterrupt wherever the main thread is. In a callback of another library that is
lost, and training goes on, or it ends the process by an abort. So while a run trains, a request is a flag that is
looked at after each epoch; before, the process of a command ends on the spot; after, it saves what there is first.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

STATUS = 130  # of a process that ends so, as shells have it


class Interruptible(Protocol):
    """Something that looks, now and then, whether it was asked to stop."""

    interrupted: bool


class Ending:
    """The handler of Ctrl-C while a command runs.

    Before anything was trained there is nothing to save: the process ends at once, and what `cleaned_up_by` names is
    done. Afterwards the first request is kept, in `asked`, until results are saved, and only the second ends it.

    Attributes:
        trained: Whether a run has begun.
        asked: Whether the process is to end with status 130 once it has saved what it has.
    """

    def __init__(self):
        self.trained = False
        self.asked = False

    def __call__(self, signum: int, frame: object) -> None:
        """Take a request."""
        if self.trained and not self.asked:
            self.asked = True
            return
        for clean_up in _clean_ups[::-1]:
            with contextlib.suppress(Exception):
                clean_up()
        with contextlib.suppress(Exception):  # also where the signal came while the stream was written
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[?25h\n")  # a bar hides the cursor
            sys.stdout.flush()
        leave(STATUS)


def leave(status: int) -> NoReturn:
    """End the process without the end of Python, which waits for threads at work in other libraries."""
    os._exit(status)


_clean_ups: list[Callable[[], object]] = []


@contextlib.contextmanager
def cleaned_up_by(clean_up: Callable[[], object]) -> Iterator[None]:
    """Within the block, `clean_up` is called where a request ends the process at once."""
    _clean_ups.append(clean_up)
    try:
        yield
    finally:
        _clean_ups.remove(clean_up)


@contextlib.contextmanager
def ctrl_c_asks(run: Interruptible) -> Iterator[None]:
    """The first Ctrl-C only asks to stop, so that nothing is left half done; a second one is Python's own."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def ask(signum, frame):
        run.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    if isinstance(before, Ending):
        before.trained = True
        run.interrupted = run.interrupted or before.asked  # after another run of the same command
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def ctrl_c_raises() -> Iterator[None]:
    """Within the block Ctrl-C is Python's KeyboardInterrupt, as a server that has handlers of its own expects."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
