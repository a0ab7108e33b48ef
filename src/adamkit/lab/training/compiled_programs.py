"""JAX's compiled programs in the user's cache folder, so that the next process that trains such a model compiles none.

JAX has a cache of its own on disk. Its files are not whole at every moment, one that is damaged is never replaced, and
it has no bound without another package. So JAX is given this one; which programs are the same is still JAX's to say.
Programs are machine code, so the processor's features are part of a name, and machines may share the folder.
"""

import contextlib
import functools
import hashlib
import os
import platform
import warnings
from pathlib import Path

from adamkit import cache

LARGEST = 256 * 2**20  # bytes of all programs together
_BLOCK = 4096  # bytes that a small file takes on disk
_KEPT = 0.8  # the share of `LARGEST` that is kept when it is exceeded: those used last


def keep_on_disk() -> bool:
    """Keep what JAX compiles from now on in this process in the user's cache folder, and load what is there.

    Commands do so; `import adamkit.lab` does not. A cache that the user has set up (`JAX_COMPILATION_CACHE_DIR`) is
    left as it is, and `ADAMKIT_CACHE=off` turns this one off.

    Returns:
        Whether it is now so.
    """
    import jax

    folder = cache.folder()
    if folder is None or jax.config.values["jax_compilation_cache_dir"] is not None:
        return False
    if not _install(Programs(folder / "programs")):
        return False
    # Also programs that are small and compile fast: a run has dozens.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # An entry that this XLA cannot load is compiled again and replaced.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    return True


def _install(programs: "Programs") -> bool:
    """JAX has no public way to give it another cache than its own."""
    try:
        from jax._src import compilation_cache

        if not hasattr(compilation_cache, "_cache") or not hasattr(compilation_cache, "_cache_initialized"):
            return False
    except ImportError:
        return False
    compilation_cache._cache, compilation_cache._cache_initialized = programs, True  # type: ignore[assignment]
    return True


class Programs:
    """Programs by JAX's keys in files of one folder: what JAX expects of a cache."""

    def __init__(self, folder: Path, largest: int = LARGEST):
        self._path = folder
        self._largest = largest
        self._bytes: int | None = None  # in the folder, as far as this process knows

    def get(self, key: str) -> bytes | None:
        """The program of that key; None where there is none, or no whole one."""
        path = self._file(key)
        program = cache.read(path)
        if program is not None:
            with contextlib.suppress(OSError):  # of another user, or on a disk that is read only
                os.utime(path)
        return program

    def put(self, key: str, value: bytes) -> None:
        """Keep a program, where that is possible; those that were used longest ago make room."""
        if len(value) > self._largest:
            return
        with contextlib.suppress(OSError):
            try:
                cache.write(self._file(key), value)
            except cache.NotPrivateError as error:
                cache.warn(f"compiled programs are not kept in {self._path}: {error}")
                return
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += max(len(value), _BLOCK)
            if self._bytes > self._largest:
                self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._files(), reverse=True)  # those used last come first
        kept = 0
        for _, size, path in files:
            if kept + size <= _KEPT * self._largest:
                kept += size
                continue
            with contextlib.suppress(OSError):  # another process was faster
                path.unlink()
        self._bytes = kept

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes on disk, and where it is; what killed processes left is among them."""
        found = []
        for path in self._path.iterdir():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, max(status.st_size, _BLOCK), path))
        return found

    def _file(self, key: str) -> Path:
        return self._path / f"{hashlib.sha256(f'{_machine()} {key}'.encode()).hexdigest()}.program"


@functools.cache
def _machine() -> str:
    """What programs for this processor may rely on. Where that is unknown, the machine's name."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
        if features:
            return "\n".join([platform.machine(), *sorted(features)])
    return f"{platform.machine()} {platform.processor()} {platform.node()}"
