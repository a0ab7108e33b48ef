"""`adamkit memory`: what training with Adam holds in memory, by how parameters and moments are stored."""

import json as json_module
import math
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adamkit.lab.insight.memory import Row

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def memory(
    model: Annotated[
        str | None,
        typer.Option(
            help="mlp, logistic, cnn, a .keras file, or a module:function or file.py:function that makes a Keras or "
            "PyTorch model. Default: mlp, unless --parameters is given."
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(help="As many parameters, such as 7e9: in the proportions of --model, or in one array."),
    ] = None,
    data: Annotated[
        str, typer.Option(help="The data whose rows a Keras model is built for, as in `adamkit train`.")
    ] = "random",
    auto: Annotated[
        bool,
        typer.Option("--auto", help='With a learning rate that is found ("auto"), for which two more arrays are kept.'),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a row, with all bytes.")] = False,
) -> None:
    """Show the memory that training with Adam takes, for each way to store parameters and moments.

    Bytes a parameter for the parameters, their gradients, both moments and what is kept beside a narrow parameter, and
    all of it together. Activations come on top. Switches such as `schedule_free` keep nothing more.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from adamkit.lab.insight import memory as lab

    count = None if parameters is None else _whole_number(parameters)
    frozen = 0
    if model is None and count is not None:
        sizes = [count]
    else:
        sizes, frozen = lab.sizes_of(model or "mlp", data)
        if count is not None:
            sizes, frozen = lab.scaled(sizes, count), round(frozen * count / max(sum(sizes), 1))
    rows = lab.table(sizes, auto=auto)
    if json:
        for row in rows:
            print(json_module.dumps(row._asdict() | {"total": row.total}))
        return
    name = "" if model is None and count is not None else f"{model or 'mlp'}: "
    arrays = f"{len(sizes)} {'array' if len(sizes) == 1 else 'arrays'}"
    others = f"; {frozen:,} more that are not trained are left out" if frozen else ""
    print(f"{name}{sum(sizes):,} parameters in {arrays}{others}\n")
    print("\n".join(_lines(rows, sum(sizes), auto)))


def _lines(rows: "list[Row]", count: int, auto: bool) -> list[str]:
    """The table: bytes a parameter, and the total in the unit that fits."""
    power = min(int(math.log(max(row.total for row in rows), 1024)), len(_UNITS) - 1)
    table: list[tuple[str, ...]] = [
        (
            "stored as",
            "moments",
            "parameters",
            "gradients",
            "moments",
            "beside",
            *["estimate"] * auto,
            "all",
            f"total {_UNITS[power]}",
        )
    ]
    for row in rows:
        stored = row.dtype if row.dtype == "float32" else f"{row.dtype}, {row.parameter_rounding}"
        parts = (row.parameters, row.gradients, row.moments, row.remainder, *[row.estimate] * auto, row.total)
        each = [f"{part / count:.2f}" for part in parts]
        table.append((stored, row.moment_dtype, *each, f"{row.total / 1024**power:,.{2 if power else 0}f}"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(_padded(i, text, width) for i, (text, width) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]


def _padded(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)


def _whole_number(text: str) -> int:
    from adamkit.lab.errors import InputError

    try:
        number = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = math.nan
    if not 1 <= number <= 1e18 or number != int(number):
        raise InputError(f"--parameters must be a whole number from 1 to 1e18, such as 7e9. Received: {text}")
    return int(number)
