"""What is finished of a sweep, on disk: for each chunk its history and its runs' state, each file whole or not there.

What is there is used only if it is as it was written, and of this very sweep. Anything else counts as not there: it is
trained again, and said.
"""

import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from adamkit.lab import disk
from adamkit.lab.disk import PARTS
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping import sealed, spaces
from adamkit.lab.sweeping.chunks import Chunk, Run, State
from adamkit.lab.sweeping.sealed import Seal, parts_in_order
from adamkit.lab.sweeping.tables import with_settings

_PLAN = "plan.json"
_SHOWN = 3  # parts that a warning names


class Parts:
    """The finished chunks of a sweep.

    Attributes:
        fingerprint: Of the sweep.
        processors: What they were trained on, in words.
    """

    def __init__(self, folder: Path, fingerprint: str):
        self._folder = folder
        self.fingerprint = fingerprint
        self._histories: dict[str, pd.DataFrame] = {}
        self._ends: list[pd.DataFrame] = []
        self._places: dict[Run, tuple[int, str, int]] = {}  # of each run's latest state: its epoch, chunk and place
        self._sizes: dict[str, int] = {}
        self.processors: list[str] = []

    @classmethod
    def open(cls, folder: str | Path | None, fingerprint: str, settings: int) -> "Parts":
        """Those in a folder, if they are of this sweep.

        Args:
            folder: The sweep's; None: a temporary one.
            fingerprint: Of the sweep.
            settings: How many it has.

        Raises:
            InputError: The folder holds another sweep.
        """
        if folder is None:
            parts = cls(Path(tempfile.mkdtemp(prefix="adamkit-sweep-")), fingerprint)
            weakref.finalize(parts, shutil.rmtree, parts._folder, ignore_errors=True)
            return parts
        parts = cls(Path(folder) / PARTS, fingerprint)
        if parts._folder.is_symlink():
            raise InputError(f"{parts._folder} must be a folder, and is a symbolic link")
        parts._folder.mkdir(parents=True, exist_ok=True)
        parts._take_up(settings)
        return parts

    def _take_up(self, settings: int) -> None:
        """Note what is whole and of this sweep, with a warning for what is not."""
        unfit: list[str] = []
        found: list[tuple[Path, pd.DataFrame, Seal]] = []
        for path in parts_in_order(self._folder):
            try:
                found.append((path, *sealed.read(path)))
            except InputError as error:
                unfit.append(str(error))
        sweeps = {seal.sweep for _, _, seal in found}
        plan = self._folder / _PLAN
        if plan.exists():
            try:
                record = json.loads(plan.read_text(encoding="utf-8"))
                sweeps, self._sizes = {str(record["fingerprint"])}, _checked(record["chunk_sizes"], settings)
                self.processors = [str(one) for one in record.get("processors", [])]
            except (ValueError, KeyError, TypeError, OSError, RecursionError):
                unfit.append(f"{plan} is damaged")
                self._sizes = {_group(seal.chunk): seal.size for _, _, seal in found}
        if sweeps - {self.fingerprint}:
            raise InputError(
                f"folder must be new, or hold a part of this very sweep. Received: {str(self._folder.parent)!r}, which "
                "holds one with other settings, options, data or weights"
            )
        for path, history, seal in found:
            if (wrong := self._unfit(path, seal)) is None:
                self._note(path.stem, history)
            else:
                unfit.append(f"{path} is {wrong}")
        if unfit:
            more = f" and {len(unfit) - _SHOWN} more" if len(unfit) > _SHOWN else ""
            warnings.warn(
                f"what is not as the sweep left it is trained again: {'; '.join(unfit[:_SHOWN])}{more}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _unfit(self, path: Path, seal: Seal) -> str | None:
        """Why a part that is whole is none of this sweep's."""
        if seal.sweep != self.fingerprint:
            return "of another sweep"
        if seal.size != self._sizes.get(_group(seal.chunk)):
            return f"of {seal.size} runs, and the plan says {self._sizes.get(_group(seal.chunk))}"
        state = path.with_suffix(".npz")
        if state.is_symlink() or not state.is_file():
            return "without its weights"
        return None if sealed.sha256(state) == seal.state else f"beside damaged weights, {state.name}"

    def chunk_size(self, group: str) -> int | None:
        """Runs in a chunk of a group of settings, once that is known."""
        return self._sizes.get(group)

    def largest_chunk(self) -> int:
        """Of all groups."""
        return max(self._sizes.values(), default=1)

    def keep_chunk_size(self, group: str, size: int) -> None:
        """A sweep that goes on uses the same, so that it gives the same bits."""
        self._sizes[group] = size
        self._write_plan()

    def note_processor(self, processor: str) -> None:
        """Before what was trained on it is added."""
        if processor not in self.processors:
            self.processors = [*self.processors, processor]
            self._write_plan()

    def _write_plan(self) -> None:
        record = {"fingerprint": self.fingerprint, "chunk_sizes": self._sizes, "processors": self.processors}
        disk.replace(self._folder / _PLAN, lambda path: path.write_text(json.dumps(record), encoding="utf-8"))

    def has(self, name: str) -> bool:
        """Whether a chunk is finished."""
        return name in self._histories

    def add(self, chunk: Chunk, history: pd.DataFrame, state: State) -> None:
        """Write a finished chunk."""
        weights = self._folder / f"{chunk.name}.npz"
        disk.replace(weights, state.save)
        # Last: a chunk whose history is there is finished.
        seal = Seal(self.fingerprint, chunk.name, self._sizes[_group(chunk.name)], sealed.sha256(weights))
        sealed.write(self._folder / f"{chunk.name}.parquet", history, seal)
        self._note(chunk.name, history)

    def states(self, runs: Sequence[Run]) -> State:
        """The states of some runs; of the chunks that they were in, one at a time is in memory."""
        found: dict[Run, State] = {}
        for name in dict.fromkeys(self._places[run][1] for run in runs):
            state = State.load(self._folder / f"{name}.npz")
            found |= {run: state.take([self._places[run][2]]) for run in runs if self._places[run][1] == name}
        return State.joined(found[run] for run in runs)

    def runs(self) -> list[Run]:
        """All that are finished."""
        return sorted(self._places, key=lambda run: (run.setting, run.seed))

    def count(self) -> int:
        """How many they are."""
        return len(self._places)

    def weights(self, run: Run) -> tuple | None:
        """The weights of a run at its end: trainable ones and others."""
        if run not in self._places:
            return None
        state = self.states([run])
        return tuple([array[0] for array in group] for group in (state.trainable, state.non_trainable))

    def history(self, settings: Sequence[spaces.Setting], columns: Sequence[str] | None) -> pd.DataFrame:
        """All rows, in the order of settings, seeds and epochs."""
        if not self._histories:
            dtypes = {"setting": int, "seed": int} | dict.fromkeys(settings[0], float) | {"epoch": int}
            dtypes |= dict.fromkeys(columns or (), float)
            return pd.DataFrame({name: np.empty(0, dtype) for name, dtype in dtypes.items()})
        return with_settings(self._histories.values(), settings)

    def ends(self, settings: Sequence[spaces.Setting]) -> pd.DataFrame:
        """Of `history` the last row of each run in each chunk."""
        return with_settings(self._ends, settings)

    def _note(self, name: str, history: pd.DataFrame) -> None:
        self._histories[name] = history
        ends = history.drop_duplicates(["setting", "seed"], keep="last")
        self._ends.append(ends)
        rows = ends[["setting", "seed", "epoch"]].itertuples(index=False)
        for place, (setting, seed, epoch) in enumerate(rows):
            run = Run(int(setting), int(seed))
            # A chunk of an earlier rung that is trained again comes after those that went on from it.
            if run not in self._places or self._places[run][0] <= epoch:
                self._places[run] = (int(epoch), name, place)


def _group(chunk: str) -> str:
    """The group of settings in the name of a chunk."""
    return chunk.split("-")[1]


def _checked(sizes: object, settings: int) -> dict[str, int]:
    """Chunk sizes that can be; TypeError for others."""
    if not isinstance(sizes, dict):
        raise TypeError(sizes)
    for size in sizes.values():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= settings:
            raise TypeError(size)
    return sizes
