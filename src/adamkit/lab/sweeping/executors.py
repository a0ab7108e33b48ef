"""Who trains the chunks of a sweep: the threads of this machine, or whatever else has the two methods of `Chunks`.

Needs no framework.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from adamkit.lab.sweeping import spaces
    from adamkit.lab.sweeping.chunks import Chunk, Trained, Work
    from adamkit.lab.sweeping.subject import Subject


@dataclass(frozen=True)
class Failed:
    """A chunk that could not be trained, however often it was tried.

    Attributes:
        chunk: Which runs.
        reason: Of the last time, in words.
    """

    chunk: "Chunk"
    reason: str


class CannotTrainError(OSError):
    """No worker of an executor could train what it was asked for; the message says why. A failure of the machines."""


class Chunks(Protocol):
    """Trains chunks of one program: `adamkit.lab.sweeping.chunks.Trainer` is one."""

    def chunk_size(self, runs: int, hyperparameters: Mapping[str, float], most: int | None = None) -> int:
        """How many runs to train at once, of so many, with hyperparameters such as these; at most `most`.

        Raises:
            CannotTrainError: Whoever was asked died, or failed.
        """
        ...

    def train(
        self, works: "Iterable[Work]", size: int, interrupted: Callable[[], bool]
    ) -> "Iterator[Trained] | Iterator[Trained | Failed]":
        """Train chunks of up to `size` runs, in any order, until there are no more or `interrupted`."""
        ...


class Session(Protocol):
    """An executor that is ready to train."""

    def chunks(self, subject: "Subject", setting: "spaces.Setting") -> Chunks:
        """What trains chunks of settings that need the program of this one; called within `Subject.for_program`."""
        ...


class Executor(Protocol):
    """Where a sweep is trained."""

    def connected(self) -> AbstractContextManager[Session]:
        """Make it ready for some sweeps, and end what was begun for them."""
        ...


class Threads:
    """A thread for each core of this machine, or for each accelerator."""

    @contextlib.contextmanager
    def connected(self) -> Iterator["Threads"]:
        """It is always ready."""
        yield self

    def chunks(self, subject: "Subject", setting: "spaces.Setting") -> Chunks:
        """See `Session`."""
        return subject.trainer(subject.batch_size(setting))
