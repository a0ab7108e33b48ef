"""What a tool that keeps runs is asked for."""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adamkit.lab import disk
from adamkit.lab.errors import InputError, reason

DONE, INTERRUPTED, FAILED = "done", "interrupted", "failed"  # how a run can end
_FILES = (disk.RECORD, disk.HISTORY, disk.SUMMARY, disk.MODEL, disk.REPORT)


class Run(abc.ABC):
    """A run that a tool keeps, from its beginning to its end. `add` may be called from another thread."""

    @abc.abstractmethod
    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Keep the figures of some epochs: rows of a history, each with its `epoch`, from 1."""

    @abc.abstractmethod
    def end(self, status: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
        """Close it: how it ended, what was measured once at its end, by name, and what it leaves."""

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where it is to be seen, in words."""


class Tool(abc.ABC):
    """A tool that keeps runs. Nothing is imported, made or reached before `begin`.

    Attributes:
        package: What is imported, and the extra of adamkit that brings it.
    """

    package: str

    @abc.abstractmethod
    def begin(self, name: str, parameters: Mapping[str, Any], within: Run | None = None, *, many: bool = False) -> Run:
        """Begin a run.

        Args:
            name: Of the run; of one `within` another, among those.
            parameters: Names and values, plain (`plain`).
            within: The run that `many` was set for: a sweep or a comparison.
            many: Whether it is to hold others.
        """


def plain(parameters: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """Values that every tool takes: flags, numbers and text; None is left out."""
    kept = {}
    for name, value in parameters.items():
        value = value.item() if hasattr(value, "item") else value
        if value is not None and value == value:  # in the table of several optimizers NaN: it has none of that name
            kept[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return kept


def checked(log: Any) -> list[Tool]:
    """A tool, or several, as a list; TypeError where it is something else."""
    tools = [log] if isinstance(log, Tool) else list(log) if isinstance(log, Iterable) else [log]
    for one in tools:
        if not isinstance(one, Tool):
            raise TypeError(f"log must be a tool of adamkit.lab.logs, or several. Received: {type(one).__name__}")
    return tools


def installed(tools: Iterable[Tool], warn: Callable[[str], None]) -> list[Tool]:
    """Those that can be imported; `warn` is told of the others."""
    found = []
    for tool in tools:
        if find_spec(tool.package) is None:
            how = f"install it with: pip install 'adamkit[{tool.package}]'"
            warn(f"nothing goes to {type(tool).__name__}, which is not installed; {how}")
        else:
            found.append(tool)
    return found


def begun(
    tool: Tool, name: str, parameters: Mapping[str, Any], warn: Callable[[str], None], *, many: bool = False
) -> Run | None:
    """A run that a tool has begun; None where it cannot, of which `warn` is told."""
    try:
        return tool.begin(name, plain(parameters), many=many)
    except Exception as error:  # whatever the tool raises: it is not set up, or cannot be reached
        warn(failed(tool, error))
        return None


def failed(tool: Tool, error: BaseException) -> str:
    """What to warn of where a tool did not take what it was sent."""
    return f"{type(tool).__name__} does not have all of this run: {reason(error)}"


def files_of(folder: Path) -> list[Path]:
    """What of a run's folder is worth keeping with a run: its record, tables, model and report."""
    return [folder / name for name in _FILES if (folder / name).is_file()]


def check_name(name: str, value: str | None) -> None:
    """InputError unless `value` is text, or None."""
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InputError(f"{name} must be a name. Received: {name}={value!r}")
