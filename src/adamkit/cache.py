"""What adamkit keeps in the user's cache folder: compiled code, which a new process then need not compile.

`ADAMKIT_CACHE=off` in the environment turns it off; any other value is a folder to use instead. Files are whole or not
there, several processes may read and write at once, and one that is damaged is as good as none.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path

_CHECKSUM = 32  # bytes before the content: its SHA-256


def is_off() -> bool:
    """Whether the user wants nothing to be kept."""
    return os.environ.get("ADAMKIT_CACHE", "").lower() == "off"


def folder() -> Path | None:
    """Where things are kept, made when something is written; None where nothing is."""
    if is_off():
        return None
    if chosen := os.environ.get("ADAMKIT_CACHE"):
        return Path(chosen).absolute()
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # unlike Path.home(), never raises
    per_user = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": str(home / "Library" / "Caches")}.get(
        sys.platform, os.environ.get("XDG_CACHE_HOME")
    )
    place = Path(per_user or home / ".cache") / "adamkit"
    return place if place.is_absolute() else None  # "~" where there is no home


def read(path: Path) -> bytes | None:
    """What was written there; None where that is nothing, cannot be read, or is damaged."""
    try:
        sealed = path.read_bytes()
    except OSError:
        return None
    checksum, content = sealed[:_CHECKSUM], sealed[_CHECKSUM:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when several processes write the same file; OSError where that cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        Path(temporary).chmod(0o644)  # another user may run what one user has installed
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise
