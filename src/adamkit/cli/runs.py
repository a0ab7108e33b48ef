"""`adamkit runs`: the runs in a folder, how each ended, its best figure and the command to go on."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adamkit.lab.runs.listing import Run


def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that the runs' folders are in.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a run.")] = False,
) -> None:
    """List the runs in a folder: how each ended, its best figure and the command to go on with it.

    A run that was ended by force, by a machine that stopped say, is one that was "killed".
    """
    from adamkit.cli.display import Output
    from adamkit.lab.runs import listing

    output = Output(as_json=json)
    found = listing.runs_in(folder)
    if json:
        for run in found:
            output.json_line(run.as_json())
        return
    if not found:
        output.note(f"no runs in {folder}")
        return
    table = [_cells(run) for run in found]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for run, cells in zip(found, table, strict=True):
        output.line("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        if run.why:
            output.line(f"    {run.why}")
        if run.command:
            output.line(f"    {run.command}")


def _cells(run: "Run") -> tuple[str, ...]:
    done = "" if run.epochs is None else f"{run.epochs_done} of {run.epochs} epochs"
    return run.path.name, run.kind, run.status, done, _best(run.best)


def _best(best: Mapping[str, Any] | None) -> str:
    from adamkit.cli.display import figure

    if best is None:
        return ""
    where = f" in epoch {best['epoch']}" if "epoch" in best else ""
    return f"{best['name']} {figure(best['value'])}{where}"
