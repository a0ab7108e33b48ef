"""What the folders of runs say of themselves: how each ended, its best figure, and how to go on."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adamkit.lab.claims import LOCK, Claim
from adamkit.lab.disk import RECORD
from adamkit.lab.errors import InputError
from adamkit.lab.runs.folder import DONE, RunFolder

_KINDS = {"sweep": "sweep", "comparison": "compare", "range": "range", "experiment": "explain"}  # by what a record has
_RESUMED = ("train", "sweep", "compare")


@dataclass(frozen=True)
class Run:
    """A run's folder in short.

    Attributes:
        path: Where it is.
        kind: The command that left it: "train", "sweep", "compare", "range" or "explain".
        status: "running", "interrupted", "failed", "done"; "killed" where it says "running" and no process has it;
            "damaged" where its record cannot be read.
        why: The reason of "interrupted", "failed" and "damaged", where it is known.
        epochs_done: Of a training run, how many; else None.
        epochs: Of how many.
        best: `name` and `value` of the best figure, and of a training run its `epoch`; None where there is none yet.
        command: The command to go on with it, or None where it is done.
    """

    path: Path
    kind: str
    status: str
    why: str | None = None
    epochs_done: int | None = None
    epochs: int | None = None
    best: Mapping[str, Any] | None = None
    command: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Its attributes, for JSON."""
        return {**self.__dict__, "path": str(self.path)}


def runs_in(folder: Path) -> list[Run]:
    """Those in a folder, or the one that it is, by name; InputError where there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"the folder of runs must be a folder. Received: {str(folder)!r}")
    if (folder / RECORD).is_file():
        return [run_of(folder)]
    return [run_of(path) for path in sorted(folder.iterdir()) if (path / RECORD).is_file()]


def run_of(path: Path) -> Run:
    """A run's folder in short."""
    folder = RunFolder.open(path)
    try:
        record = folder.read_record()
        return _of(folder, record)
    except (InputError, OSError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        return Run(path, "?", "damaged", str(error))


def _of(folder: RunFolder, record: Mapping[str, Any]) -> Run:
    kind = next((name for key, name in _KINDS.items() if key in record), "train")
    status = str(record.get("status"))
    status = "done" if status in DONE else status
    if status == "running" and not _is_at_work(folder.path):
        status = "killed"
    why = record.get("reason")
    done = epochs = best = None
    if kind == "train":
        history = folder.read_history() if "history.parquet" in folder.files() else None
        epochs, done = int(record["settings"].get("epochs", 50)), 0 if history is None else len(history)
        best = None if history is None else _best_epoch(history)
    elif isinstance(found := record.get("best"), dict) and math.isfinite(found.get("objective", math.nan)):
        best = {"name": record[kind].get("objective") or "objective", "value": found["objective"]}
    goes_on = status != "done" and kind in _RESUMED
    command = f"adamkit {kind} --resume {shlex.quote(str(folder.path))}" if goes_on else None
    return Run(folder.path, kind, status, why if why is None else str(why), done, epochs, best, command)


def _is_at_work(path: Path) -> bool:
    """Whether a process has the folder, whose lock ends with it."""
    if not (path / LOCK).exists():
        return False
    try:
        Claim(path).release()
    except (InputError, OSError):
        return True
    return False


def _best_epoch(history: Any) -> dict[str, Any] | None:
    """The epoch with the lowest loss, on the validation part where there is one."""
    name = "val_loss" if "val_loss" in history else "loss"
    losses = history[name].to_numpy(np.float64) if name in history else np.array([])
    if not np.isfinite(losses).any():
        return None
    best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
    return {"name": name, "value": float(losses[best]), "epoch": best + 1}
