"""What an experiment shows, and how its paragraph words figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Shown:
    """What an experiment found.

    Attributes:
        paragraph: What it shows, in words; the numbers in it are those of this run.
        figures: A pandas.DataFrame of them, a row a case.
        charts: Altair charts by name; the first is the one that says most.
    """

    paragraph: str
    figures: Any
    charts: dict[str, Any] = field(repr=False)


def table(rows: Any, columns: Sequence[str] | None = None) -> Any:
    """A pandas.DataFrame, whose columns no type checker follows."""
    return pd.DataFrame(rows, columns=columns)  # pyright: ignore[reportArgumentType]


def stacked(tables: Sequence[Any]) -> Any:
    """Tables one below the other."""
    return pd.concat(tables, ignore_index=True)


def number(value: float) -> str:
    """Three digits, as people write them: 0.00123, 45.6, 1,230, 3.2e-07."""
    if not np.isfinite(value):
        return "infinite" if np.isinf(value) else "not a number"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 100:
        return f"{value:.3g}"
    return f"{float(f'{value:.3g}'):,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2g}"


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f} %"


def whether(condition: Any, then: str, otherwise: str) -> str:
    """One of two wordings, by what was found."""
    return then if condition else otherwise
