"""A run trained again, and each epoch's state held against the hash that was kept of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adamkit.lab import runs
from adamkit.lab.disk import CHECKPOINTS
from adamkit.lab.errors import InputError, listed
from adamkit.lab.runs.folder import RunFolder

if TYPE_CHECKING:
    import keras

    from adamkit.lab.training.checkpoints import Checkpoint
    from adamkit.lab.training.trainer import Epoch


@dataclass(frozen=True)
class Difference:
    """Where a run that was trained again is another.

    Attributes:
        epoch: The first that differs.
        variables: Those that differ after it: `dense/kernel (trainable)`; those that no gradient changes come first.
        figures: The columns of the history that differ in it.
    """

    epoch: int
    variables: tuple[str, ...]
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """What came of training a run again.

    Attributes:
        first: The first epoch that was trained again.
        last: The last.
        difference: Where it is another run; None where it is the same to the bit.
        state: The hash of all states up to the last epoch, in hexadecimal digits, as in `run.json`.
    """

    first: int
    last: int
    difference: Difference | None
    state: str


def verify(
    prepared: "runs.Prepared",
    folder: RunFolder,
    *,
    from_epoch: int = 0,
    on_epoch: Callable[["Epoch"], None] | None = None,
) -> Verified:
    """Train a run again, as far as its latest checkpoint, and compare the state after each epoch with the hash of then.

    Nothing is written.

    Args:
        prepared: Of the run's settings: `runs.prepare(runs.again(folder))`.
        folder: The run's.
        from_epoch: Begin after this epoch, from its checkpoint. Defaults to 0: from the start.
        on_epoch: Called after each epoch with its row of the history.

    Raises:
        InputError: The folder has no checkpoint that can be read, or none of `from_epoch`; or the data or the optimizer
            are others than the run's.
    """
    from adamkit.lab.training import checkpoints

    there = folder.path / CHECKPOINTS
    recorded, complaints = checkpoints.latest(there)
    if recorded is None:
        raise InputError(complaints[0] if complaints else f"{folder.path} must have checkpoints, and has none")
    start = None
    if from_epoch:
        found = {checkpoints.epoch_of(path): path for path in checkpoints.files(there)}
        if from_epoch not in found:
            raise InputError(
                f"from_epoch must be an epoch that has a checkpoint: {listed(sorted(filter(None, found)))}. "
                f"Received: from_epoch={from_epoch}"
            )
        start = checkpoints.read(found[from_epoch])
    comparison = _Comparison(recorded, start)
    if comparison.difference is None:
        runs.trained(prepared, recorded.epoch, on_epoch, comparison)
    reached = recorded.epoch if comparison.difference is None else comparison.difference.epoch
    state = recorded.chain[-1].tobytes().hex()
    return Verified(min(from_epoch + 1, recorded.epoch), reached, comparison.difference, state)


class _Comparison:
    """Compares instead of keeping; see `adamkit.lab.training.keeping.Observer`."""

    def __init__(self, recorded: "Checkpoint", start: "Checkpoint | None"):
        from adamkit.lab.training import checkpoints
        from adamkit.lab.training.keeping import STARTED_WITH

        self.stop = False
        self.difference: Difference | None = None
        self._recorded, self._start = recorded, start
        self._chain = STARTED_WITH
        if start is not None:
            hashes = [checkpoints.digest(array) for array in start.variables]
            self._compare(start.epoch, hashes, start.history[-1])
            self._chain = start.chain[-1].tobytes()

    def begin(
        self, model: "keras.Model", data: Any, validation: Any, options: Mapping[str, Any]
    ) -> "Checkpoint | None":
        from adamkit.lab.training import checkpoints
        from adamkit.lab.training.keeping import check_identity, identity_of

        identity = identity_of(model, options) | {"data": checkpoints.digest_of((data, validation))}
        check_identity(self._recorded, identity)
        if self._start is not None:
            checkpoints.restore(self._start, model)
        return self._start

    def snapshot(self, arrays: list[Any]) -> list[np.ndarray]:
        return [np.asarray(array) for array in arrays]

    def add(self, row: Mapping[str, float], state: list[np.ndarray]) -> None:
        from adamkit.lab.training import checkpoints
        from adamkit.lab.training.keeping import figures

        epoch, hashes = int(row["epoch"]), [checkpoints.digest(array) for array in state]
        values = np.array([row.get(name, np.nan) for name in self._recorded.columns])
        self._compare(epoch, hashes, values)
        self._chain = checkpoints.chained(self._chain, hashes, figures(row))
        if self.difference is None and self._chain != self._recorded.chain[epoch - 1].tobytes():
            self.difference = Difference(epoch, (), ())  # the record itself was altered
        self.stop = self.difference is not None

    def finish(self) -> None:
        pass

    def _compare(self, epoch: int, hashes: list[bytes], values: np.ndarray) -> None:
        from adamkit.lab.training.keeping import short

        recorded = self._recorded
        differs = (short(hashes) != recorded.states[epoch - 1]).any(axis=1)
        names = [_shown(name) for name, other in zip(recorded.names, differs, strict=True) if other]
        names.sort(key=lambda name: "(trainable)" in name)  # what else differs may be the cause
        before = recorded.history[epoch - 1]
        columns = tuple(
            name
            for name, now, then in zip(recorded.columns, values, before, strict=True)
            if name != "seconds" and now.tobytes() != then.tobytes()
        )
        if (names or columns) and self.difference is None:
            self.difference = Difference(epoch, tuple(names), columns)


def _shown(name: str) -> str:
    kind, _, path = name.partition(" ")
    return f"{path} ({kind})"
