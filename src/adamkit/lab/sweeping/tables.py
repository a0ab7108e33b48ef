"""The tables of a sweep: its parts on disk as one history, and that as one row a setting. Needs no framework."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab.disk import PARTS
from adamkit.lab.sweeping import sealed


def summarize(history: pd.DataFrame, hyperparameters: Sequence[str], objective: str) -> pd.DataFrame:
    """`SweepResult.summary` of a history."""
    sign, column = signed(objective)
    last = history.loc[history.groupby(["setting", "seed"], sort=True).epoch.idxmax()]
    value = last[column] * sign
    last = last.assign(value=value.where(np.isfinite(value), np.inf), diverged=~np.isfinite(value))
    groups = last.groupby("setting", sort=True)
    with np.errstate(invalid="ignore"):  # infinities
        spread = groups.value.std(ddof=0)
    columns = {name: groups[name].first() for name in hyperparameters}
    columns |= {"mean": groups.value.mean(), "std": spread, "diverged": groups.diverged.mean()}
    return pd.DataFrame(columns | {"epochs": groups.epoch.max()}).reset_index()


def ranked(summary: pd.DataFrame) -> pd.DataFrame:
    """The best setting first; of equals the first."""
    return summary.sort_values("mean", kind="stable")


def signed(objective: str) -> tuple[float, str]:
    """The sign with which a column is to be small, and the column."""
    return (-1.0, objective[1:]) if objective.startswith("-") else (1.0, objective)


def with_settings(tables: Iterable[pd.DataFrame], settings: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows of some tables in the order of settings, seeds and epochs, with the hyperparameters."""
    table = pd.concat(tables, ignore_index=True).sort_values(["setting", "seed", "epoch"], ignore_index=True)
    for place, name in enumerate(settings[0]):
        table.insert(2 + place, name, np.array([setting[name] for setting in settings])[table.setting])
    return table


def finished_so_far(folder: Path, settings: Sequence[dict[str, Any]]) -> pd.DataFrame | None:
    """The history of what is finished in the folder of a sweep that runs or was cut off; None where nothing is.

    Raises:
        InputError: A part is damaged, or is none; `adamkit sweep --resume` trains it again.
    """
    tables = [sealed.read(path)[0] for path in sealed.parts_in_order(folder / PARTS)]
    return with_settings(tables, settings) if tables else None
