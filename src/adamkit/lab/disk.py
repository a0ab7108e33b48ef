"""Files that are whole or not there, and their names in a run's folder."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD, HISTORY, MODEL = "run.json", "history.parquet", "model.keras"
SUMMARY, CHARTS, PARTS = "summary.csv", "charts", "parts"  # of a sweep; parts: what is finished of it
REPORT = "report.html"
CHECKPOINTS = "checkpoints"  # of a training run


def replace(path: Path, write: Callable[[Path], Any], *, durable: bool = False) -> None:
    """Let `write` write a file, given a path, and rename that to `path`.

    Whoever reads `path`, at any moment and after a crash, finds a whole file or none. The temporary name starts with a
    dot. With `durable` it is on the disk itself when this returns, so that a machine that stops loses nothing either.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.unlink(missing_ok=True)  # a link that lies there would be followed
        write(temporary)
        if durable:
            _to_disk(temporary)
        temporary.replace(path)
        if durable:
            _to_disk(path.parent)  # the name
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # where a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
