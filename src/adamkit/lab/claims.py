"""One process at a time in a run's folder: a lock that a process that has died does not keep."""

import contextlib
import os
import platform
import weakref
from collections.abc import Iterator
from pathlib import Path

from adamkit.lab.errors import InputError

LOCK = ".lock"  # a file of the folder, there while it is claimed


class Claim:
    """A folder that this process alone works in, until `release`, the end of this object or that of the process.

    The operating system keeps the lock, so that none is left behind. Where the file system has no locks, every claim is
    granted. Within one process a folder may be claimed again and again.

    Args:
        folder: It must be there.

    Raises:
        InputError: Another process has it.
        OSError: The folder is gone or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     claim = Claim(Path(folder))
        ...     claim.release()
    """

    def __init__(self, folder: Path):
        self._key = str(folder.resolve())
        held = _held.get(self._key)
        if held is None:
            held = _held[self._key] = _Lock(folder)
        held.claims += 1
        self.release = weakref.finalize(self, _release, self._key, held)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Claim a folder for a block, and make it if it is not there; see `Claim`."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = Claim(folder)
    try:
        yield
    finally:
        claim.release()


class _Lock:
    """The locked file, with the process that has it, in words, for another one that wants it."""

    def __init__(self, folder: Path):
        self.claims = 0
        self.path = folder / LOCK
        while True:
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            try:
                if not _locked(self.handle):
                    holder = os.read(self.handle, 200).decode(errors="replace").strip()
                    raise InputError(f"{folder} is in use by another process{f', {holder}' if holder else ''}")
                # Whoever had it may have removed the file just before.
                if os.path.samestat(os.fstat(self.handle), os.stat(self.path)):  # noqa: PTH116
                    break
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(self.handle)
                raise
            os.close(self.handle)
        os.truncate(self.handle, 0)
        os.write(self.handle, f"number {os.getpid()} on {platform.node()}\n".encode())

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()  # while it is locked: a file that another process opens now is no longer there
        os.close(self.handle)


_held: dict[str, _Lock] = {}


def _release(key: str, lock: _Lock) -> None:
    lock.claims -= 1
    if not lock.claims:
        del _held[key]
        lock.end()


def _locked(handle: int) -> bool:
    """Whether the lock is this process's now; also where the file system has none."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _locked_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _locked_on_windows(handle: int) -> bool:
    import msvcrt
    from typing import Any

    windows: Any = msvcrt  # whose types are known on Windows alone
    try:
        os.lseek(handle, 2**30, os.SEEK_SET)  # a byte that nobody reads: there a lock keeps others from reading
        windows.locking(handle, windows.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True
