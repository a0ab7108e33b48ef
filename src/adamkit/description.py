"""What an optimizer does with which parameters, and what it keeps of them, as a table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Row(NamedTuple):
    """Parameters that are treated and stored alike.

    Attributes:
        group: Their group.
        variables: How many arrays they are in.
        parameters: How many numbers.
        formats: Their own and that of the moments, and of what is kept beside them if there is any.
        bytes: Of all that the optimizer keeps of them.
        settings: The hyperparameters of their next step, by name.
    """

    group: str
    variables: int
    parameters: int
    formats: str
    bytes: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Description:
    """Rows that show as a table, with a line for all of them.

    Attributes:
        rows: In the order in which the optimizer has their first variables.
    """

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Of all rows."""
        return sum(row.parameters for row in self.rows)

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        """The table."""
        variables = sum(row.variables for row in self.rows)
        rows = [*self.rows, Row("all", variables, self.parameters, "", self.bytes, {})]
        lines = [("group", "variables", "parameters", "formats", "bytes", "settings")]
        for row in rows:
            settings = ", ".join(f"{name} {_shown(value)}" for name, value in row.settings.items())
            numbers = (f"{row.variables:,}", f"{row.parameters:,}")
            lines.append((row.group, *numbers, row.formats, f"{row.bytes:,}", settings))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ("<", ">", ">", "<", ">", "<")
        shown = [
            "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join(shown)

    __repr__ = __str__


def described(variables: Iterable[Row]) -> Description:
    """A description from a row for each variable: those that agree are one."""
    rows: dict[Any, Row] = {}
    for one in variables:
        key = (one.group, one.formats, *one.settings.items())
        row = rows.get(key, one._replace(variables=0, parameters=0, bytes=0))
        rows[key] = row._replace(
            variables=row.variables + one.variables,
            parameters=row.parameters + one.parameters,
            bytes=row.bytes + one.bytes,
        )
    return Description(tuple(rows.values()))


def formats(parameter: str, moments: Iterable[str], beside: str | None = None) -> str:
    """The dtype of a parameter, the formats of its moments and the dtype of what is kept beside it, in words."""
    words = f"{parameter}, moments {' and '.join(dict.fromkeys(moments))}"
    return words if beside is None else f"{words}, remainder {beside}"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
