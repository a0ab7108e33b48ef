"""The folder that a training run leaves: `run.json`, `history.parquet` and `model.keras`.

Each file is written under a temporary name and renamed, so that whoever reads it, at any moment and after any crash,
finds a whole one or none.
"""

import contextlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab.errors import InputError

if TYPE_CHECKING:
    import keras
    import pandas as pd

DEFAULT_PARENT = Path("runs")
_RECORD, _HISTORY, _MODEL = "run.json", "history.parquet", "model.keras"


class RunFolder:
    """One run's folder.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: str | Path | None) -> "RunFolder":
        """Make a new folder; None: one in `runs`, named after the time.

        Raises:
            InputError: There is something at `path` already that is no empty folder.
            OSError: It cannot be made or written to.
        """
        if path is None:
            path = _unused(DEFAULT_PARENT / datetime.now().strftime("train-%Y%m%d-%H%M%S"))
        path = Path(path)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"the output folder must be new or empty. Received: {str(path)!r}, which exists")
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """An earlier run's folder.

        Raises:
            InputError: It is not there, or was not left by a run.
        """
        folder = cls(Path(path))
        if not (folder.path / _RECORD).is_file():
            raise InputError(f"a run folder must hold a file {_RECORD}. Received: {str(path)!r}, where there is none")
        return folder

    def write_record(self, record: dict[str, Any]) -> None:
        """Write `run.json`."""
        text = json.dumps(record, indent=2) + "\n"
        self._replace(_RECORD, lambda path: path.write_text(text, encoding="utf-8"))

    def write_history(self, history: "pd.DataFrame") -> None:
        """Write `history.parquet`."""
        self._replace(_HISTORY, lambda path: history.to_parquet(path, index=False))

    def write_model(self, model: "keras.Model") -> None:
        """Write `model.keras`, with the optimizer's state."""
        self._replace(_MODEL, model.save)

    def read_record(self) -> dict[str, Any]:
        """What `run.json` holds; InputError where it is damaged."""
        try:
            record = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{self.path / _RECORD} must be JSON, and is not: {error}") from error
        if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
            raise InputError(f"{self.path / _RECORD} must hold the settings of a run, and does not")
        return record

    def _replace(self, name: str, write: Callable[[Path], Any]) -> None:
        temporary = self.path / f".{os.getpid()}.{name}"
        try:
            write(temporary)
            temporary.replace(self.path / name)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def _unused(path: Path) -> Path:
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
