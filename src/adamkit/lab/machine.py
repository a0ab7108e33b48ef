"""What this process may take of the machine: memory and cores, and which processor that is. Needs no framework."""

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path

UNKNOWN = 4 * 2**30  # bytes, where the machine does not say


@functools.cache
def processor() -> str:
    """The processor in words, with a hash of its features, and the cores that this process may use.

    A program that is compiled on the spot gives the same bits where these are the same.
    """
    lines = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    said = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    name = said.get("model name", platform.processor()).strip() or "unknown"
    features = said.get("flags") or said.get("Features") or platform.node()
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"{name}, {platform.machine()} with features {digest}, {cores()} cores"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: what the machine has available, and at most its container's limit.

    Args:
        root: Where `/proc` and `/sys` are.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):  # not Linux
        return UNKNOWN
    return min([free, *_limits(root)])


def _limits(root: Path) -> list[int]:
    """The limits of the control groups that this process is in, and of those that they are in: versions 1 and 2."""
    files = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            kind, name = ("", "memory.max") if controllers == "" else ("memory", "memory.limit_in_bytes")
            top = root / "sys/fs/cgroup" / kind
            inner = top if ".." in Path(group).parts else top / group.lstrip("/")
            # In a container the path may be the host's, and the group itself be mounted at the top.
            files += [folder / name for folder in (inner, *inner.parents) if folder == top or top in folder.parents]
    limits = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            limits.append(int(file.read_text()))
    return limits
