"""The report of a training run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from adamkit.lab.disk import HISTORY
from adamkit.lab.errors import InputError, listed
from adamkit.lab.insight.charts import training as charts
from adamkit.lab.insight.reports import made
from adamkit.lab.insight.reports.page import Page, Section

if TYPE_CHECKING:
    from adamkit.lab.runs.folder import RunFolder

_MOST_ROWS = 12  # of the table of epochs


def page_of(folder: "RunFolder", record: Mapping[str, Any]) -> Page:
    """The report of the run in a folder.

    Raises:
        InputError: Its history or settings are missing or damaged.
    """
    from adamkit.lab.runs import Settings

    settings = Settings.of(dict(record))
    history = folder.read_history()
    if not {"epoch", "loss", "seconds"} <= set(history.columns):
        raise InputError(
            f"{folder.path / HISTORY} must have epoch, loss and seconds. Received: {listed(history.columns)}"
        )
    return page(history, record, made.command("train", made.changed(settings)))


def page(history: pd.DataFrame, record: Mapping[str, Any], command: str | None) -> Page:
    """The report of a history and what `run.json` says of it."""
    key = "val_loss" if "val_loss" in history else "loss"
    losses = history[key].to_numpy(float)
    facts = {name: _figure(history[name].iloc[-1]) for name in history.columns if name not in ("epoch", "seconds")}
    test = record.get("test")
    facts |= {f"{name} on the test part": _figure(value) for name, value in test.items()} if test else {}
    facts["epochs"] = str(len(history))
    facts["time"] = made.duration(float(np.sum(history["seconds"])))
    sentences = []
    if np.isfinite(losses).any():
        best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
        sentences.append(f"{key} is smallest after epoch {int(history['epoch'].iloc[best])}: {_figure(losses[best])}.")
        if best < len(history) - 1 and key == "val_loss":
            worse = losses[-1] - losses[best]
            sentences.append(f"In the epochs after it, it grows by {_figure(worse)}, to {_figure(losses[-1])}.")
    wrong = np.flatnonzero(~np.isfinite(history.to_numpy(float)).all(axis=1))
    if len(wrong):
        first = int(history["epoch"].iloc[wrong[0]])
        sentences.append(
            f"The loss or a metric is not finite in {len(wrong)} of {len(history)} epochs, first in epoch {first}; a "
            "smaller learning rate may help."
        )
    shown = history if len(history) <= _MOST_ROWS else history.iloc[_spread(len(history))]
    title = "Epochs" if len(shown) == len(history) else f"Epochs ({len(shown)} of {len(history)})"
    return Page(
        title=f"Training {made.subject(record)}",
        summary=sentences,
        facts=facts,
        sections=[
            Section("Loss and metrics after each epoch", charts=charts.charts_of(history)),
            Section(title, table=shown),
            *made.sections(record, command),
        ],
        warning=made.unfinished(record, "run"),
    )


def _spread(rows: int) -> np.ndarray:
    return np.unique(np.linspace(0, rows - 1, _MOST_ROWS).round().astype(int))


def _figure(value: float) -> str:
    return f"{value:.4g}"
