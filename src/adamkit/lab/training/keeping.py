"""Checkpoints while a run goes on: taken between epochs, hashed and written on another thread."""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from adamkit.keras.internals import without_scaler
from adamkit.lab import disk
from adamkit.lab.errors import InputError, reason
from adamkit.lab.training import checkpoints
from adamkit.lab.training.checkpoints import Checkpoint

KEPT = 2
_SHARE = 0.02  # of the run's time, at most, that writing takes
_BETWEEN = 1.0  # seconds, at least
STARTED_WITH = bytes(32)  # what the first epoch is chained to
_SHORT = 8  # bytes of a variable's hash


class Observer(Protocol):
    """What `adamkit.lab.train` tells of each epoch."""

    stop: bool

    def begin(self, model: keras.Model, data: Any, validation: Any, options: Mapping[str, Any]) -> Checkpoint | None:
        """The run begins, with a built model; returns what it is to go on from."""
        ...

    def snapshot(self, arrays: list[Any]) -> list[np.ndarray]:
        """Copy the state after an epoch, in the order of `checkpoints.variables_of`, before the next one changes it."""
        ...

    def add(self, row: Mapping[str, float], state: list[np.ndarray]) -> None:
        """An epoch's row of the history and its snapshot."""
        ...

    def finish(self) -> None:
        """The run has ended, in whatever way."""
        ...


class Keeper:
    """Keeps the last two checkpoints of a run in a folder, and goes on from the latest.

    A checkpoint that cannot be written is tried again later; `failure` says why the last one could not.

    Args:
        folder: The run's folder.
        every: Epochs between checkpoints; None: as often as takes under 2 % of the run's time, at most once a second.
        clock: Seconds, for the latter.

    Attributes:
        stop: Whether the folder is gone, so that going on is in vain.
        failure: Why the state at the end is not on the disk, or None.
        complaints: A line for each checkpoint that was passed over, since it is damaged.
    """

    def __init__(self, folder: str | Path, every: int | None = None, clock: Callable[[], float] = time.monotonic):
        self.folder = Path(folder) / disk.CHECKPOINTS
        self.stop = False
        self.failure: OSError | None = None
        self.complaints: list[str] = []
        self._every, self._clock = every, clock
        self._looked, self._latest = False, None
        self._chain: list[np.ndarray] = []
        self._queue: queue.Queue = queue.Queue(1)
        self._worker: threading.Thread | None = None
        self._broken: BaseException | None = None

    @property
    def state(self) -> str | None:
        """The hash, in hexadecimal digits, of all states so far, once there is one."""
        return self._chain[-1].tobytes().hex() if self._chain else None

    def latest(self) -> Checkpoint | None:
        """The checkpoint to go on from, if there is one; read once."""
        if not self._looked:
            self._looked = True
            self._latest, self.complaints = checkpoints.latest(self.folder)
        return self._latest

    def begin(self, model: keras.Model, data: Any, validation: Any, options: Mapping[str, Any]) -> Checkpoint | None:
        """See `Observer`. InputError where the folder has the checkpoint of another run."""
        identity = identity_of(model, options)
        checkpoint = self.latest()
        self._names = checkpoints.names_of(model)
        hashing = ThreadPoolExecutor(1)
        self._data: Future = hashing.submit(lambda: {"data": checkpoints.digest_of((data, validation))})
        hashing.shutdown(wait=False)
        if checkpoint is not None:
            check_identity(checkpoint, identity | self._data.result())
            checkpoints.restore(checkpoint, model)
        self._identity = identity
        self._states = [] if checkpoint is None else list(checkpoint.states)
        self._chain = [] if checkpoint is None else list(checkpoint.chain)
        self._rows = [] if checkpoint is None else list(checkpoint.history)
        self._columns = None if checkpoint is None else checkpoint.columns
        self._last = None if checkpoint is None else checkpoint.epoch
        self._written = self._last
        self._due = self._clock() + _BETWEEN
        self._latest = None  # its memory
        self._worker = threading.Thread(target=self._work, name="adamkit checkpoints", daemon=True)
        self._worker.start()
        return checkpoint

    def snapshot(self, arrays: list[Any]) -> list[np.ndarray]:
        """See `Observer`."""
        return [np.array(array) for array in arrays]

    def add(self, row: Mapping[str, float], state: list[np.ndarray]) -> None:
        """See `Observer`."""
        self._queue.put((row, state))
        if self._broken is not None:
            raise self._broken

    def finish(self) -> None:
        """See `Observer`: the last state is written, if it is not yet."""
        if self._worker is None:
            return
        self._queue.put(None)
        self._worker.join()
        self._worker = None
        if self._broken is not None:
            raise self._broken
        if self._last is not None and self._written != self._last and not self.stop:
            self._write()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._broken is None:
                try:
                    self._take(*item)
                except BaseException as error:  # told to the thread that trains
                    self._broken = error

    def _take(self, row: Mapping[str, float], state: list[np.ndarray]) -> None:
        self._columns = self._columns or [name for name in row if name != "epoch"]
        if self._columns != [name for name in row if name != "epoch"]:
            raise InputError(f"the history must have the columns {', '.join(self._columns)}. Received: {list(row)}")
        hashes = [checkpoints.digest(array) for array in state]
        chain = checkpoints.chained(self._chain[-1].tobytes() if self._chain else STARTED_WITH, hashes, figures(row))
        self._states.append(short(hashes))
        self._chain.append(np.frombuffer(chain, np.uint8))
        self._rows.append(np.array([row[name] for name in self._columns]))
        self._state, self._last = state, int(row["epoch"])
        due = self._clock() >= self._due if self._every is None else self._last % self._every == 0
        if due:
            self._write()

    def _write(self) -> None:
        started = self._clock()
        try:
            checkpoint = Checkpoint(
                self._last or 0,
                self._state,
                self._names,
                self._columns or [],
                np.array(self._rows),
                np.array(self._states),
                np.array(self._chain),
                self._identity | self._data.result(),
            )
            checkpoint.write(self.folder)
            self._written, self.failure = self._last, None
            self._remove_old()
        except OSError as error:
            self.failure = error
            self.stop = not self.folder.parent.is_dir()
        now = self._clock()
        self._due = now + max(_BETWEEN, (now - started) / _SHARE)

    def _remove_old(self) -> None:
        """All but the last two, and what a process that was killed has left half written."""
        for path in checkpoints.files(self.folder)[KEPT:]:
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.safetensors"):
            path.unlink(missing_ok=True)


def identity_of(model: keras.Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to go on, beside its data."""
    optimizer = without_scaler(model.optimizer)
    config = {name: value for name, value in optimizer.get_config().items() if name != "name"}
    if isinstance(rate := config.get("learning_rate"), float):  # as it was given, not as float32 has it
        config["learning_rate"] = float(str(np.float32(rate)))
    kind = {"backend": keras.backend.backend(), "optimizer": type(optimizer).__name__}
    return json.loads(json.dumps({**kind, **config, **options}, default=lambda value: type(value).__name__))


def check_identity(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
    """InputError unless the run is the one that the checkpoint is of."""
    for name, value in identity.items():
        before = checkpoint.identity.get(name)
        if before == value:
            continue
        if name == "data":
            raise InputError("the data must be those that the run was trained on, and are others")
        raise InputError(f"{name} must be as in the run that there is, {before}. Received: {value}")


def figures(row: Mapping[str, float]) -> np.ndarray:
    """(columns,) float64: what an epoch showed, without what differs from run to run."""
    return np.array([value for name, value in row.items() if name not in ("epoch", "seconds")], np.float64)


def short(hashes: list[bytes]) -> np.ndarray:
    """(variables, 8) uint8: enough to tell which variable differs."""
    return np.array([np.frombuffer(one[:_SHORT], np.uint8) for one in hashes], np.uint8).reshape(-1, _SHORT)


def unsaved(keeper: "Keeper") -> OSError | None:
    """What to raise where the end of a run is not on the disk."""
    failure = keeper.failure
    return failure and OSError(f"the checkpoint could not be written: {failure.strerror or reason(failure)}")
