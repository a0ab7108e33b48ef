"""Reports: a run folder as one page that needs no network.

`page_of` looks into the folder's `run.json` for what kind of run it is. A kind is a file here with a function
`page_of(folder, record) -> Page`, and a line in `KINDS`.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from adamkit import __version__
from adamkit.lab import disk
from adamkit.lab.disk import CHARTS, REPORT
from adamkit.lab.errors import InputError, reason

if TYPE_CHECKING:
    from adamkit.lab.insight.charts.theme import Format
    from adamkit.lab.insight.reports.page import Page
    from adamkit.lab.runs.folder import RunFolder

# What a run.json has and no other kind's: the file here. A training run has none of them.
KINDS = {"sweep": "sweep_folder", "range": "learning_rate_range", "comparison": "comparison"}
_OF_EVERY_RUN = {"settings", "data", "model", "versions"}


def page_of(folder: "RunFolder") -> "Page":
    """The report of a run.

    Raises:
        InputError: The folder is of a kind that is not known here, is damaged, or holds nothing to show yet.
    """
    record = folder.read_record()
    kind = next((name for key, name in KINDS.items() if key in record), "training")
    try:
        if not record.keys() >= _OF_EVERY_RUN:
            missing = ", ".join(sorted(_OF_EVERY_RUN - record.keys()))
            raise InputError(f"{folder.path} must be the folder of a run, and its run.json is without {missing}")
        return import_module(f"{__name__}.{kind}").page_of(folder, record)
    except InputError as error:
        versions = record.get("versions")
        release = versions.get("adamkit") if isinstance(versions, dict) else None
        if release in (None, __version__):
            raise
        raise InputError(f"{error} (the run is of adamkit {release}, and this is {__version__})") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # somebody may have edited its files
        raise InputError(f"{folder.path} is no run that a report can be made of: {reason(error)}") from error


def write(page: "Page", path: Path, formats: "Sequence[Format]" = ()) -> list[Path]:
    """Write a page, and its charts as pictures.

    Args:
        page: What `page_of` gave.
        path: Of the page's file; it is replaced, whole or not at all.
        formats: `"png"`, `"svg"`: each chart in a file of its own in a folder `charts` beside the page.

    Returns:
        The files.

    Raises:
        OSError: The disk is full or fails.
    """
    text = page.html()
    disk.replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    files = [path]
    if formats:
        from adamkit.lab.insight.charts.theme import save

        pictures = path.parent / CHARTS
        if pictures.is_symlink():
            raise InputError(f"{pictures} must be a folder, and is a symbolic link")
        pictures.mkdir(exist_ok=True)
        files += [file for name, chart in page.charts.items() for file in save(chart, pictures, name, formats)]
    return files


def attempt(make: "Callable[[], Page]", folder: Path, warn: Callable[[str], object]) -> Path | None:
    """Write the report of a run that has just ended, which must not fail for that.

    Args:
        make: Makes the page.
        folder: The run's.
        warn: Gets a message where it did not work.

    Returns:
        The page's file, if it is there.
    """
    try:
        return write(make(), folder / REPORT)[0]
    except BaseException as error:  # a full disk, a figure that no chart can take, a bug of ours: the run is saved
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of vl-convert, in Rust
            raise
        warn(f"no report was written: {reason(error)}")
        return None
