"""The folder that a training run leaves: `run.json`, `history.parquet` and `model.keras`; a sweep leaves others too.

Each file is whole or not there: see `adamkit.lab.disk`.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab import disk
from adamkit.lab.disk import HISTORY, MODEL, PARTS, RECORD
from adamkit.lab.errors import InputError, reason

if TYPE_CHECKING:
    import keras
    import pandas as pd

DEFAULT_PARENT = Path("runs")
DONE = ("done", "finished")  # the status of what came to its end; the latter before there were checkpoints
_FAILURES_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


class RunFolder:
    """One run's folder.

    As a context manager it removes the folder again if the block fails before there is a history, so that a run that
    never started leaves nothing.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, made: list[Path] | None = None):
        self.path = path
        self._made = made  # None: an earlier run's; folders that were made for it, the innermost first

    @classmethod
    def create(cls, path: str | Path | None, kind: str = "train") -> "RunFolder":
        """Make a new folder; None: one in `runs`, named after `kind` and the time.

        Raises:
            InputError: There is something at `path` already that is no empty folder, or none can be made there.
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
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            if path.exists() and not (path.is_dir() and not any(path.iterdir())):
                raise InputError(f"the output folder must be new or empty. Received: {str(path)!r}, which exists")
            path.mkdir(parents=True, exist_ok=not new)
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            if (new and isinstance(error, FileExistsError)) or error.errno in _FAILURES_OF_THE_MACHINE:
                raise
            raise InputError(f"the output folder {str(path)!r} cannot be made or written: {error.strerror}") from error
        return cls(path, made)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """An earlier run's folder.

        Raises:
            InputError: It is not there, or was not left by a run.
        """
        folder = cls(Path(path))
        if not (folder.path / RECORD).is_file():
            raise InputError(f"a run folder must hold a file {RECORD}. Received: {str(path)!r}, where there is none")
        return folder

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if (
            kind is None
            or self._made is None
            or (self.path / HISTORY).exists()
            or any((self.path / PARTS).glob("*.parquet"))
        ):
            return
        with contextlib.suppress(OSError):
            (self.path / RECORD).unlink(missing_ok=True)
            if (self.path / PARTS).exists():
                shutil.rmtree(self.path / PARTS)
            for folder in self._made:
                folder.rmdir()

    def files(self) -> list[str]:
        """The names of those of its three files that are there."""
        return [name for name in (RECORD, HISTORY, MODEL) if (self.path / name).exists()]

    def write_record(self, record: dict[str, Any]) -> None:
        """Write `run.json`."""
        text = json.dumps(record, indent=2) + "\n"
        self.replace(RECORD, lambda path: path.write_text(text, encoding="utf-8"))

    @contextlib.contextmanager
    def recording_failure(self, record: dict[str, Any]) -> Iterator[None]:
        """Where the block fails, `record` is written with status "interrupted" (Ctrl-C) or "failed" and seconds.

        Raises:
            MemoryError: It failed for want of memory on the device.
        """
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.write_record(record | {"status": status, "seconds": round(time.monotonic() - started, 3)})
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(reason(error)) from error
            raise

    def write_history(self, history: "pd.DataFrame") -> None:
        """Write `history.parquet`."""
        self.replace(HISTORY, lambda path: history.to_parquet(path, index=False))

    def write_model(self, model: "keras.Model") -> None:
        """Write `model.keras`, with the optimizer's state."""
        from adamkit.keras.internals import without_tensorflow

        with without_tensorflow():
            self.replace(MODEL, model.save)

    def read_record(self) -> dict[str, Any]:
        """What `run.json` holds; InputError where it is damaged."""
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{self.path / RECORD} must be JSON, and is not: {error}") from error
        if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
            raise InputError(f"{self.path / RECORD} must hold the settings of a run, and does not")
        return record

    def read_history(self) -> "pd.DataFrame":
        """What `history.parquet` holds; InputError where it is missing or damaged."""
        import pandas as pd

        try:
            return pd.read_parquet(self.path / HISTORY)
        except Exception as error:  # pyarrow has errors of its own
            raise InputError(f"{self.path / HISTORY} is no readable history: {reason(error)}") from error

    def replace(self, name: str, write: Callable[[Path], Any]) -> None:
        """Let `write` write the file `name`, whole or not at all: see `adamkit.lab.disk.replace`."""
        disk.replace(self.path / name, write)
