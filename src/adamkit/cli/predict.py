"""`adamkit predict`: what the model of a run says of new rows, as a table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adamkit.cli import options
from adamkit.cli.options import OUTPUT

if TYPE_CHECKING:
    import pandas as pd

_ENDINGS = (".csv", ".parquet")


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run of adamkit train.", metavar="RUN")],
    rows: Annotated[
        Path, typer.Argument(help="A .csv, .parquet or .npz file like that it was trained on.", metavar="FILE")
    ],
    keep: Annotated[
        str | None,
        typer.Option(help="Columns of FILE to have in the table too, with commas.", rich_help_panel=OUTPUT),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .parquet file to write. Default: CSV on the output.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Say what the model of a run predicts for new rows: a class and the probability of each, or a number.

    The table of new rows needs the columns that the model was trained on, in any order; further ones are ignored.
    """
    from adamkit.lab.errors import InputError, listed
    from adamkit.lab.runs.folder import RunFolder

    if out is not None and out.suffix.lower() not in _ENDINGS:
        raise InputError(f"--out must end in {listed(_ENDINGS)}. Received: {out}")
    if out is not None and out.exists() and rows.exists() and out.samefile(rows):
        raise InputError(f"--out must be another file than that of the rows. Received: {out}")
    record = RunFolder.open(run).read_record()
    options.use_backend(str(record["settings"].get("backend", "jax")))

    from adamkit.lab.runs.predictions import predict as predicted

    table = predicted(run, rows, on_remark=lambda text: _say(f"adamkit: {text}"))
    if keep is not None:
        names = [name.strip() for name in keep.split(",") if name.strip()]
        as_text = out is None or out.suffix.lower() == ".csv"  # 007 stays 007
        table = _with_columns(table, rows, names, names if as_text else [])
    if out is None:
        table.to_csv(sys.stdout, index=False)
        return
    _write(table, out)
    _say(f"saved  {out}: {len(table)} {'row' if len(table) == 1 else 'rows'}, columns {listed(table.columns)}")


def _with_columns(table: "pd.DataFrame", rows: Path, names: list[str], text: list[str]) -> "pd.DataFrame":
    """`table` with columns of the file of new rows before it; those in `text` are not made into numbers."""
    import pandas as pd

    from adamkit.lab.data import files
    from adamkit.lab.errors import InputError, listed, nearest

    given = files.read_features(rows, text)
    there = [str(name) for name in getattr(given, "columns", ())]
    for name in names:
        if name not in there:
            raise InputError(
                f"--keep must name columns of {rows}. Received: {name!r}.{nearest(name, there)} "
                f"Its columns: {listed(there) or 'none'}"
            )
        if name in table:
            raise InputError(f"--keep must not name {name!r}, which is a column of the predictions")
    return pd.concat([given[names].reset_index(drop=True), table], axis=1)


def _write(table: "pd.DataFrame", out: Path) -> None:
    from adamkit.lab import disk

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".parquet":
        disk.replace(out, lambda path: table.to_parquet(path, index=False))
    else:
        disk.replace(out, lambda path: table.to_csv(path, index=False))


def _say(text: str) -> None:
    """On standard error, since the output may be the table."""
    print(text, file=sys.stderr, flush=True)
