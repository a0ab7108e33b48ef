"""The folder that a training run leaves: `run.json`, `history.parquet` and `model.keras`; a sweep leaves others too.

Each file is whole or not there: see `adamkit.lab.disk`.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab import disk
from adamkit.lab.claims import LOCK, Claim
from adamkit.lab.disk import HISTORY, MODEL, PARTS, RECORD
from adamkit.lab.errors import InputError, reason
from adamkit.lab.interrupts import cleaned_up_by

if TYPE_CHECKING:
    import keras
    import pandas as pd

DEFAULT_PARENT = Path("runs")
DONE = ("done", "finished")  # the status of what came to its end; the latter before there were checkpoints
_FAILURES_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


class RunFolder:
    """One run's folder.

    Whoever writes in it has it from `create` or `take_up`, which claim it: no other process can until the end of this
    object, or that of the block where it is a context manager. A new one is removed again if the block fails before
    there is a history, so that a run that never started leaves nothing.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, claim: Claim | None = None, made: list[Path] | None = None):
        self.path = path
        self._block = contextlib.ExitStack()
        self._claim = claim
        self._made = made  # None: an earlier run's; folders that were made for it, the innermost first

    @classmethod
    def create(cls, path: str | Path | None, kind: str = "train") -> "RunFolder":
        """Make a new folder; None: one in `runs`, named after `kind` and the time.

        Raises:
            InputError: There is something at `path` already that is no empty folder, none can be made there, or another
                process has it.
            OSError: The disk is full or fails.
        """
        if path is not None:
            return cls._made_at(Path(path))
        name = DEFAULT_PARENT / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
        number = 1
        while True:
            candidate = name if number == 1 else name.with_name(f"{name.name}-{number}")
            number += 1
            if not candidate.exists():
                with contextlib.suppress(FileExistsError):  # another run was faster
                    return cls._made_at(candidate, new=True)

    @classmethod
    def _made_at(cls, path: Path, *, new: bool = False) -> "RunFolder":
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"the output folder must have a name in UTF-8. Received: {str(path)!r}") from None
        try:
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            _check_empty(path)
            path.mkdir(parents=True, exist_ok=not new)
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            claim = Claim(path)
            try:
                _check_empty(path)  # another process may have been in it in the meantime
            except BaseException:
                claim.release()
                raise
        except OSError as error:
            if (new and isinstance(error, FileExistsError)) or error.errno in _FAILURES_OF_THE_MACHINE:
                raise
            raise InputError(f"the output folder {str(path)!r} cannot be made or written: {error.strerror}") from error
        return cls(path, claim, made)

    @classmethod
    def take_up(cls, path: str | Path) -> "RunFolder":
        """An earlier run's folder, to go on with.

        Raises:
            InputError: It is not there, was not left by a run, or another process has it.
            OSError: It cannot be written.
        """
        folder = cls.open(path)
        folder._claim = Claim(folder.path)
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """An earlier run's folder, to read.

        Raises:
            InputError: It is not there, or was not left by a run.
        """
        folder = cls(Path(path))
        if not (folder.path / RECORD).is_file():
            raise InputError(f"a run folder must hold a file {RECORD}. Received: {str(path)!r}, where there is none")
        return folder

    def __enter__(self) -> "RunFolder":
        self._block.enter_context(cleaned_up_by(lambda: self.__exit__(KeyboardInterrupt)))
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._block.close()
        if kind is not None:
            self.leave_nothing()
        if self._claim is not None:
            self._claim.release()

    def leave_nothing(self) -> None:
        """Remove a new folder, unless there is a history in it already."""
        if self._made is None or (self.path / HISTORY).exists() or any((self.path / PARTS).glob("*.parquet")):
            return
        with contextlib.suppress(OSError):
            (self.path / RECORD).unlink(missing_ok=True)
            if (self.path / PARTS).exists():
                shutil.rmtree(self.path / PARTS)
            if self._claim is not None:
                self._claim.release()
            for folder in self._made:
                folder.rmdir()

    def files(self) -> list[str]:
        """The names of those of its three files that are there."""
        return [name for name in (RECORD, HISTORY, MODEL) if (self.path / name).exists()]

    def write_record(self, record: dict[str, Any]) -> None:
        """Write `run.json`; null stands for what is not finite, for which JSON has no number."""
        text = json.dumps(_without_infinities(record), indent=2, allow_nan=False) + "\n"
        self.replace(RECORD, lambda path: path.write_text(text, encoding="utf-8"))

    @contextlib.contextmanager
    def recording_failure(self, record: dict[str, Any]) -> Iterator[None]:
        """Where the block fails, `record` is written with status "interrupted" (Ctrl-C) or "failed" and seconds.

        Raises:
            MemoryError: It failed for want of memory on the device.
        """
        started = time.monotonic()

        def ended(status: str) -> None:
            self.write_record(record | {"status": status, "seconds": round(time.monotonic() - started, 3)})

        try:
            with cleaned_up_by(lambda: ended("interrupted")):
                yield
        except BaseException as error:
            ended("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(reason(error)) from error
            raise

    def write_history(self, history: "pd.DataFrame") -> None:
        """Write `history.parquet`, with a checksum."""
        from adamkit.lab.sweeping import sealed

        self.replace(HISTORY, lambda path: sealed.write_rows(path, history))

    def write_model(self, model: "keras.Model") -> None:
        """Write `model.keras`, with the optimizer's state."""
        from adamkit.keras.internals import without_tensorflow

        with without_tensorflow():
            self.replace(MODEL, model.save)

    def read_record(self) -> dict[str, Any]:
        """What `run.json` holds; InputError where it is damaged."""
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # also text that is no UTF-8, and thousands of brackets
            raise InputError(f"{self.path / RECORD} must be JSON, and is not: {reason(error)}") from error
        if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
            raise InputError(f"{self.path / RECORD} must hold the settings of a run, and does not")
        return record

    def read_history(self) -> "pd.DataFrame":
        """What `history.parquet` holds; InputError where it is missing, damaged or not of numbers alone."""
        import pandas as pd

        from adamkit.lab.sweeping import sealed

        try:
            history = sealed.read_rows(self.path / HISTORY)
        except Exception as error:  # pyarrow has errors of its own
            raise InputError(f"{self.path / HISTORY} is no readable history: {reason(error)}") from error
        for name in history:
            if not pd.api.types.is_numeric_dtype(history[name].dtype):
                raise InputError(
                    f"{self.path / HISTORY} must hold numbers. Received: {history[name].dtype} in {name!r}"
                )
        return history

    def replace(self, name: str, write: Callable[[Path], Any]) -> None:
        """Let `write` write the file `name`, whole or not at all: see `adamkit.lab.disk.replace`."""
        disk.replace(self.path / name, write)


def _check_empty(path: Path) -> None:
    """InputError where there is something that is no folder, or one with more in it than what claims it."""
    if path.exists() and not (path.is_dir() and all(entry.name == LOCK for entry in path.iterdir())):
        raise InputError(f"the output folder must be new or empty. Received: {str(path)!r}, which exists")


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_infinities(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
