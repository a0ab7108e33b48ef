"""`adamkit report`: a run folder as one page of charts, and its charts as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adamkit.lab.insight.charts.theme import Format


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a training run, a sweep, a range test or a comparison.")],
    out: Annotated[Path | None, typer.Option(help="The page's file. Default: report.html in the run's folder.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Also each chart as PNG, in charts/ beside the page.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Also each chart as SVG, in charts/ beside the page.")] = False,
) -> None:
    """Make one page of a run: its charts, what they say, its settings, and the command that repeats it.

    The page is one file that needs no network. Of a sweep that still runs or was cut off it shows what is finished.
    """
    from adamkit.lab.disk import REPORT
    from adamkit.lab.errors import InputError
    from adamkit.lab.insight import reports
    from adamkit.lab.runs.folder import RunFolder

    folder = RunFolder.open(run)
    path = out if out is not None else folder.path / REPORT
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--out must be a file in a folder that is there. Received: {str(path)!r}")
    formats: list[Format] = [*(["png"] if png else []), *(["svg"] if svg else [])]
    page = reports.page_of(folder)
    files = reports.write(page, path, formats)
    print(f"report {path}")
    if formats:
        print(f"charts {len(files) - 1} in {files[-1].parent}")
