"""Two threads that train: one what readers ask for, the other what they may ask for next, while nobody waits."""

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adamkit.lab.errors import InputError, reason
from adamkit.play.archive import MOST, Archive, Run
from adamkit.play.choices import Choice
from adamkit.play.neighbourhood import Stops, worth_training
from adamkit.play.training import Bench

_QUIET = 0.25  # seconds without a request before something is trained that nobody asked for
_LONG = 5.0  # seconds of a run above which nothing is trained unasked
_GATHERED = 4  # requests that wait, from which on they are trained as one population


class SupersededError(Exception):
    """A later request of the same tab, or its end, took this one's place."""


@dataclass
class Job:
    """A run that a tab waits for."""

    tab: str
    choice: Choice
    future: "Future[Run]" = field(default_factory=Future)
    stopped: bool = False


@dataclass
class Status:
    """What a tab is told of its request: in words and numbers.

    Attributes:
        state: `"idle"`, `"compiling"` or `"training"`.
        epoch: Done of the run.
        epochs: Of the run.
        left: Seconds until it is done, once that can be said.
        curve: (epoch, columns) so far.
        choice: That is trained.
    """

    state: str = "idle"
    epoch: int = 0
    epochs: int = 0
    left: float | None = None
    curve: list[np.ndarray] = field(default_factory=list)
    choice: Choice | None = None


class Workers:
    """The two threads, and what they have to do.

    Args:
        bench: What trains.
        archive: Where runs go.
        stops: Where each slider stops.
        on_status: Called, by these threads, when a tab's status has changed.

    Attributes:
        clock: Seconds, which say how long a run takes and whether nobody has asked for a while.
    """

    def __init__(
        self, bench: Bench, archive: Archive, stops: Stops, on_status: Callable[[str], None] = lambda tab: None
    ):
        self.bench, self.archive = bench, archive
        self.clock: Callable[[], float] = time.monotonic
        self.statuses: dict[str, Status] = {}
        self._stops, self._on_status = stops, on_status
        self._jobs: list[Job] = []
        self._wishes: dict[str, Iterator[Choice]] = {}
        self._wished: dict[str, tuple] = {}
        self._asked = threading.Condition()
        self._closed = False
        self._last = 0.0  # when somebody asked
        self._seconds: dict[tuple, float] = {}  # of a run alone, by program and epochs
        self._threads = [
            threading.Thread(target=work, name=f"adamkit-play-{work.__name__}", daemon=True)
            for work in (self._serve, self._fill)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End after the epoch in progress; what waits is given up."""
        with self._asked:
            self._closed = True
            for job in self._jobs:
                self._stop(job)
            self._asked.notify_all()

    def join(self) -> None:
        """Wait for the threads' end."""
        for thread in self._threads:
            thread.join()

    def ask(self, tab: str, choice: Choice) -> "Future[Run]":
        """Train a choice, instead of what this tab asked for before; the future fails with SupersededError then."""
        job = Job(tab, choice)
        with self._asked:
            self._drop(tab)
            self.statuses[tab] = Status()  # of what it asked for before nothing more is said
            self._last = self.clock()
            known = self.archive.of(choice)
            if known is not None and known.alone:
                job.future.set_result(known)
            else:
                self._jobs.append(job)
            self._asked.notify_all()
        self._on_status(tab)
        return job.future

    def wish(self, tab: str, choice: Choice, axes: tuple[str, str] | None) -> None:
        """What a tab shows: train what is near it, and its map, in idle time."""
        with self._asked:
            if self._wished.get(tab) != (choice, axes):
                self._wished[tab] = (choice, axes)
                self._wishes[tab] = worth_training(choice, self._stops, axes)
                self._asked.notify_all()

    def cancel(self, tab: str) -> None:
        """Give up what a tab waits for."""
        with self._asked:
            self._drop(tab)
            self.statuses[tab] = Status()
        self._on_status(tab)

    def leave(self, tab: str) -> None:
        """A tab is closed: nothing more is done for it."""
        with self._asked:
            self._drop(tab)
            self._wishes.pop(tab, None)
            self._wished.pop(tab, None)
            self.statuses.pop(tab, None)

    def _drop(self, tab: str) -> None:
        for job in [job for job in self._jobs if job.tab == tab]:
            self._jobs.remove(job)
            self._stop(job)

    def _stop(self, job: Job) -> None:
        job.stopped = True
        if not job.future.done():
            job.future.set_exception(SupersededError())

    # What readers wait for.

    def _serve(self) -> None:
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._closed or self._jobs)
                if self._closed:
                    return
                alike = [job for job in self._jobs if _alike(job.choice, self._jobs[0].choice)]
            known = self.archive.of(alike[0].choice)
            if known is not None and known.alone:  # another tab has asked for it meanwhile
                self._ended(alike[:1], [known])
                continue
            gathered = len(alike) >= _GATHERED and self.bench.size > 1
            jobs = alike[: self.bench.size] if gathered else alike[:1]
            try:
                runs = self._trained(jobs, alone=not gathered)
            except Exception as error:  # whatever the user's model raises
                self._ended(jobs, InputError(f"this could not be trained: {reason(error)}"))
            else:
                if runs is not None:
                    self.archive.add(runs)
                    self._ended(jobs, runs)

    def _trained(self, jobs: list[Job], *, alone: bool) -> list[Run] | None:
        """The runs of these jobs; None where nobody waits for them any longer."""
        choice, n = jobs[0].choice, 1 if alone else self.bench.size
        if not self.bench.is_ready(choice, n):
            self._tell(jobs, Status("compiling", epochs=choice.epochs))
            self.bench.prepare(choice, n)
        started, told = self.clock(), 0.0
        curve: list[np.ndarray] = []
        for figures in self.bench.epochs([job.choice for job in jobs], n):
            curve.append(figures)
            if self._closed or all(job.stopped for job in jobs):
                return None
            passed = self.clock() - started
            if passed - told > 0.1:
                told = passed
                left = passed / len(curve) * (choice.epochs - len(curve))
                for place, job in enumerate(jobs):
                    so_far = [row[place] for row in curve]
                    self._tell([job], Status("training", len(curve), choice.epochs, left, so_far, job.choice))
        if alone:
            self._seconds[(choice.program, choice.epochs)] = self.clock() - started
        stacked = np.stack(curve, axis=1)
        return [Run(job.choice, stacked[place], alone or n == 1) for place, job in enumerate(jobs)]

    def _ended(self, jobs: list[Job], result: Any) -> None:
        with self._asked:
            self._last = self.clock()
            for place, job in enumerate(jobs):
                if job in self._jobs:
                    self._jobs.remove(job)
                if not job.future.done():
                    if isinstance(result, Exception):
                        job.future.set_exception(result)
                    else:
                        job.future.set_result(result[place])
            self._asked.notify_all()
        self._tell(jobs, Status())

    def _tell(self, jobs: list[Job], status: Status) -> None:
        for job in jobs:
            if not job.stopped:
                self.statuses[job.tab] = status
                self._on_status(job.tab)

    # What they may ask for next.

    def _fill(self) -> None:
        import scipy.stats.qmc  # noqa: F401  a second to import, in which nobody is to wait for `_asked`

        while not self._closed:
            if not self._quiet():
                continue
            chosen = self._next()
            if not chosen:
                with self._asked:
                    self._asked.wait(timeout=1.0)
                continue
            with contextlib.suppress(Exception):  # the thread that was asked for it says why it fails
                self._fill_with(chosen)

    def _fill_with(self, chosen: list[Choice]) -> None:
        n = self.bench.size
        curve = []
        for figures in self.bench.epochs(chosen, n):
            curve.append(figures)
            while not self._quiet():
                if self._closed:
                    return
        stacked = np.stack(curve, axis=1)
        self.archive.add([Run(choice, stacked[place], n == 1) for place, choice in enumerate(chosen)])

    def _quiet(self) -> bool:
        """Wait for a moment in which nobody does, for at most some of it."""
        with self._asked:
            if self._jobs:
                self._asked.wait(timeout=1.0)
                return False
            since = self.clock() - self._last
            if since < _QUIET:
                self._asked.wait(timeout=_QUIET - since)
                return False
            return not self._closed

    def _next(self) -> list[Choice]:
        """Some of one program, at most as many as a population has, of the tab that is served next."""
        with self._asked:
            for tab in list(self._wishes):
                choice, _ = self._wished[tab]
                seconds = self._seconds.get((choice.program, choice.epochs), math.inf)
                if seconds > _LONG or len(self.archive) >= MOST:
                    continue
                found: list[Choice] = []
                for one in self._wishes[tab]:
                    if found and not _alike(one, found[0]):  # a map may have cells of several programs
                        self._wishes[tab] = itertools.chain([one], self._wishes[tab])
                        break
                    if one not in self.archive and one not in found:
                        found.append(one)
                    if len(found) == self.bench.size:
                        break
                if found:
                    self._wishes[tab] = self._wishes.pop(tab)  # the others' turn comes before its next
                    return found
        return []


def _alike(one: Choice, other: Choice) -> bool:
    return one.program == other.program and one.epochs == other.epochs
