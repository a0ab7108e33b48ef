"""What a training run shows: on a terminal with a bar and the time left, elsewhere one plain line an epoch."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from adamkit.lab.runs import Prepared
    from adamkit.lab.train import Epoch, TrainResult


class Display:
    """Shows a run on the standard output; with `as_json` only one line of JSON an epoch, the rest on standard error."""

    def __init__(self, epochs: int, *, as_json: bool = False):
        self._epochs = epochs
        self._as_json = as_json
        self._rows = Console(highlight=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False, soft_wrap=True) if as_json else self._rows
        self._progress = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._rows,
            transient=True,
            disable=as_json or not self._rows.is_terminal,
        )
        self._task = self._progress.add_task("", total=epochs)

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def start(self, prepared: "Prepared") -> None:
        """Say what is trained, on what, and how."""
        data, settings = prepared.record["data"], prepared.settings
        shape = " × ".join(map(str, data["row_shape"]))
        kind = {"binary": "2 classes", "number": "a number to predict"}.get(
            data["target"], f"{len(data['class_names'] or ())} classes"
        )
        validation = f", {data['validation_rows']} to validate on" if data["validation_rows"] else ""
        self._notes.print(f"data   {settings.data}: {data['rows']} rows of {shape} features, {kind}{validation}")
        if data["standardized"]:
            self._notes.print("       features standardized: zero mean and unit variance on the rows to train on")
        parameters = prepared.record["model"]["parameters"]
        self._notes.print(f"model  {settings.model}: {parameters:,} parameters, loss {prepared.record['loss']}")
        extras = [
            f"{name} {getattr(settings, name)}"
            for name in ("weight_decay", "amsgrad", "epsilon_hat", "moment_dtype")
            if getattr(settings, name) not in (0.0, False, "float32")
        ]
        self._notes.print(
            f"Adam   learning_rate {settings.learning_rate:g}, beta_1 {settings.beta_1:g}, beta_2 {settings.beta_2:g}, "
            + ", ".join([f"epsilon {settings.epsilon:g}", *extras])
        )

    def show(self, row: "Epoch") -> None:
        """One epoch, as soon as it is known."""
        if self._as_json:
            print(json.dumps({name: _json_number(value) for name, value in row.items()}), flush=True)
            return
        width = len(str(self._epochs))
        figures = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "seconds"))
        bad = "  not finite" if _diverged(row) else ""
        self._rows.print(
            f"epoch {int(row['epoch']):{width}d}/{self._epochs}  {figures}  {_duration(row['seconds'])}{bad}"
        )
        self._progress.update(self._task, completed=row["epoch"])
        sys.stdout.flush()

    def warn(self, message: str) -> None:
        """A line on standard error."""
        print(f"adamkit: warning: {message}", file=sys.stderr)

    def finish(self, result: "TrainResult", folder: Path) -> None:
        """The summary."""
        history = result.history
        last = history.iloc[-1]
        figures = ", ".join(f"{name} {last[name]:.4f}" for name in history.columns if name not in ("epoch", "seconds"))
        ended = "interrupted" if result.interrupted else "done"
        first = history.seconds.iloc[0]
        self._notes.print(
            f"{ended}   {len(history)} epochs in {_duration(result.seconds)} "
            f"(the first, with compilation, {_duration(first)}): {figures}"
        )
        key = "val_loss" if "val_loss" in history else "loss"
        losses = history[key].to_numpy()
        if not np.isnan(losses).all():
            best = int(np.nanargmin(losses))
            self._notes.print(f"best   {key} {losses[best]:.4f} in epoch {best + 1}")
        self._notes.print(f"saved  {folder}")
        diverged = [int(row["epoch"]) for row in history.to_dict("records") if _diverged(row)]
        if diverged:
            self.warn(f"loss or metrics are not finite from epoch {diverged[0]} on; try a smaller learning rate")


def _diverged(row: "Epoch") -> bool:
    return not all(math.isfinite(value) for value in row.values())


def _json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _duration(seconds: float) -> str:
    """Three digits, in ms, s or minutes."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.1f} min"
