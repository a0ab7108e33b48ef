"""Files that are whole or not there, and their names in a run's folder."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD, HISTORY, MODEL = "run.json", "history.parquet", "model.keras"
SUMMARY, CHARTS, PARTS = "summary.csv", "charts", "parts"  # of a sweep; parts: what is finished of it
REPORT = "report.html"


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write a file, given a path, and rename that to `path`.

    Whoever reads `path`, at any moment and after a crash, finds a whole file or none. The temporary name starts with a
    dot.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
