"""Many runs that have ended, a sweep's or a comparison's, from their tables to some tools."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.logs.tool import DONE, INTERRUPTED, Tool, begun, failed, installed, plain

if TYPE_CHECKING:
    from adamkit.lab.comparing.result import Comparison
    from adamkit.lab.sweeping.sweeper import SweepResult

_Row = dict[str, float]


class _Member(NamedTuple):
    name: str
    parameters: dict[str, Any]
    rows: list[_Row]  # of its history
    figures: _Row  # at its end


def send_sweep(
    tools: Iterable[Tool],
    name: str,
    parameters: Mapping[str, Any],
    result: "SweepResult",
    files: Sequence[Path],
    warn: Callable[[str], None],
) -> list[str]:
    """Send a sweep, each run of it within one for the whole.

    Args:
        tools: Where to.
        name: Of the sweep.
        parameters: What it was made from, but for what was swept.
        result: What it gave.
        files: What it leaves.
        warn: Is told, once for each, of a tool that is not installed or fails.

    Returns:
        Where it is to be seen, a line a tool.
    """
    return _send(tools, name, parameters, lambda: _of_sweep(result), result.interrupted, files, warn)


def send_comparison(
    tools: Iterable[Tool],
    name: str,
    parameters: Mapping[str, Any],
    result: "Comparison",
    files: Sequence[Path],
    warn: Callable[[str], None],
) -> list[str]:
    """Send a comparison, as `send_sweep` a sweep."""
    interrupted = bool(result.described["interrupted"])
    return _send(tools, name, parameters, lambda: _of_comparison(result), interrupted, files, warn)


def _send(
    tools: Iterable[Tool],
    name: str,
    parameters: Mapping[str, Any],
    members: Callable[[], Iterator[_Member]],
    interrupted: bool,
    files: Sequence[Path],
    warn: Callable[[str], None],
) -> list[str]:
    seen = []
    for tool in installed(tools, warn):
        whole = begun(tool, name, parameters, warn, many=True)
        if whole is None:
            continue
        try:
            for member in members():
                run = tool.begin(member.name, plain(member.parameters), whole)
                run.add(member.rows)
                run.end(DONE, member.figures, ())
            where = whole.where
            whole.end(INTERRUPTED if interrupted else DONE, {}, files)
            seen.append(f"{type(tool).__name__}: {where}")
        except Exception as error:  # whatever the tool raises
            warn(failed(tool, error))
    return seen


def _of_sweep(result: "SweepResult") -> Iterator[_Member]:
    names = list(result.settings[0])
    table: Any = result.history
    for (setting, seed), history in table.groupby(["setting", "seed"], sort=True):
        own = result.settings[setting] | {"seed": seed}
        figures = history.drop(columns=["setting", "seed", *names])
        yield _Member(f"setting {setting} seed {seed}", own, _rows(figures), {})


def _of_comparison(result: "Comparison") -> Iterator[_Member]:
    of_run = ["optimizer", "stage", "setting", "seed"]
    own = [*of_run, *(name for name in HYPERPARAMETERS if name in result.history)]
    ends = result.runs.set_index(of_run)
    measured = [name for name in ends if str(name).startswith("test_")]
    table: Any = result.history
    for key, history in table.groupby(of_run, sort=False):
        optimizer, stage, setting, seed = key
        name = f"{optimizer} {stage} {setting} seed {seed}"
        figures = _rows(history.drop(columns=own))
        yield _Member(name, history[own].iloc[0].to_dict(), figures, ends.loc[key, measured].to_dict())


def _rows(figures: Any) -> list[_Row]:
    return [{str(name): float(value) for name, value in row.items()} for row in figures.to_dict(orient="records")]
