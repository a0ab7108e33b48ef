"""What adamkit keeps in the user's cache folder: compiled code, which a new process then need not compile.

`ADAMKIT_CACHE=off` in the environment turns it off; any other value is a folder to use instead. Files are whole or not
there, several processes may read and write at once, and one that is damaged is as good as none.

What is read here may be run. So nothing is read or written but regular files of this user, or of root, in folders in
which nobody else can put one in their place. A checksum tells damage, and not who wrote a file.
"""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

_CHECKSUM = 32  # bytes before the content: its SHA-256
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivateError(OSError):
    """A file or a folder that somebody else can change."""


def is_off() -> bool:
    """Whether the user wants nothing to be kept."""
    return os.environ.get("ADAMKIT_CACHE", "").lower() == "off"


def folder() -> Path | None:
    """Where things are kept, made when something is written; None where nothing is."""
    if is_off():
        return None
    if os.environ.get("ADAMKIT_CACHE"):
        return chosen("ADAMKIT_CACHE")
    home = "" if os.environ.get("HOME") == "" else os.path.expanduser("~")  # noqa: PTH111  # unlike Path.home(), never raises
    per_user = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": str(Path(home, "Library", "Caches"))}.get(
        sys.platform, os.environ.get("XDG_CACHE_HOME")
    )
    if not per_user or not Path(per_user).is_absolute():  # XDG's rule: what is not absolute counts as not set
        per_user = Path(home, ".cache")
    place = Path(per_user, "adamkit")
    return place if place.is_absolute() else None  # there is no home


def chosen(variable: str) -> Path | None:
    """The folder that an environment variable names; None, with a warning, where it depends on the current one."""
    path = Path(os.environ[variable])
    if not path.is_absolute():
        warn(f"{variable} must be an absolute path, and nothing is kept. Received: {str(path)!r}")
        return None
    return path


def read(path: Path) -> bytes | None:
    """What was written there; None where that is nothing, cannot be read, or is damaged.

    What somebody else could have put there is left alone too, with a warning.
    """
    try:
        whole = _whole(path)
    except NotPrivateError as error:
        warn(f"{path} is not used: {error}")
        return None
    except OSError:
        return None
    checksum, content = whole[:_CHECKSUM], whole[_CHECKSUM:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when several processes write the same file.

    Folders that are made for it can be entered by this user alone, whatever the umask.

    Raises:
        NotPrivateError: Somebody else could put something in its place.
        OSError: It cannot be written.
    """
    _make(path.parent)
    parent = _private(path.parent)
    handle, temporary = tempfile.mkstemp(dir=parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        Path(temporary).chmod(0o644)  # what root has installed, others may run
        Path(temporary).replace(parent / path.name)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise


def is_private(folder: Path) -> bool:
    """Whether nobody but this user and root can put something into a folder, or another folder in its place."""
    try:
        _private(folder)
    except OSError:
        return False
    return True


def warn(message: str) -> None:
    """Once in a process."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


_said: set[str] = set()


def _whole(path: Path) -> bytes:
    """All bytes of a file that only this user can have written."""
    # Neither does it wait for whoever writes to a pipe, nor does it follow a link.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    real = path.parent.resolve(strict=True) / path.name
    if not stat.S_ISREG(os.lstat(real).st_mode):  # what is not there is no matter of trust
        raise NotPrivateError("it is no regular file")
    _private(path.parent)
    handle = os.open(real, flags)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotPrivateError("it is no regular file")
        _check(status, "it")
        return file.read()


def _private(folder: Path) -> Path:
    """The folder without links in its path, where it and all above it are this user's or root's to write alone."""
    real = folder.resolve(strict=True)
    _check(real.stat(), f"the folder {real}")
    for above in real.parents:
        # In a folder like /tmp others can make files, and cannot rename or remove those of this user.
        _check(above.stat(), f"the folder {above}", may_be_sticky=True)
    return real


def _check(status: os.stat_result, what: str, *, may_be_sticky: bool = False) -> None:
    if not hasattr(os, "geteuid"):  # Windows, where a user's folders are their own
        return
    if status.st_uid not in (0, os.geteuid()):
        raise NotPrivateError(f"{what} belongs to another user")
    if status.st_mode & _OTHERS_WRITE and not (may_be_sticky and status.st_mode & stat.S_ISVTX):
        raise NotPrivateError(f"{what} can be written by others")


def _make(folder: Path) -> None:
    """A folder and those above it, which nobody else can enter."""
    if folder.is_dir():
        return
    _make(folder.parent)
    _private(folder.parent)
    with contextlib.suppress(FileExistsError):  # another process was faster
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # under a umask that takes away too much
