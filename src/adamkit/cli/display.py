"""What a training run shows: on a terminal a table with a bar and the time left, elsewhere one plain line an epoch."""

import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from adamkit.lab.runs import Prepared
    from adamkit.lab.trainer import Epoch, TrainResult

_BETWEEN_DRAWINGS = 0.05  # seconds; epochs that are faster are drawn several at once


class Display:
    """Shows a run on the standard output; with `as_json` only one line of JSON an epoch, the rest on standard error."""

    def __init__(self, epochs: int, *, as_json: bool = False):
        self._epochs = epochs
        self._as_json = as_json
        self._notes = sys.stderr if as_json else sys.stdout
        self._reader_gone = False
        self._widths: dict[str, int] = {}  # of the columns: they never become narrower
        self._waiting: list[Text] = []  # rows of the table that are not drawn yet
        self._drawn = -math.inf
        self._terminal = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._live = not as_json and self._terminal.is_terminal
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._terminal,
            transient=True,
            disable=not self._live,
        )
        self._task = self._progress.add_task("", total=epochs)

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._draw()
        self._progress.stop()

    def start(self, prepared: "Prepared") -> None:
        """Say what is trained, on what, and how."""
        data, settings = prepared.record["data"], prepared.settings
        columns = data["row_shape"]
        shape = f"{' × '.join(map(str, columns))} {'feature' if columns == [1] else 'features'}"
        kind = {"binary": "2 classes", "number": "a number to predict"}.get(
            data["target"], f"{len(data['class_names'] or ())} classes"
        )
        self._note(f"data   {settings.data}: {data['rows']} rows of {shape}, {kind}")
        if data["validation_rows"]:
            self._note(f"       {data['validation_rows']} more rows to validate on")
        if data["standardized"]:
            self._note("       features standardized: mean 0, variance 1 on the rows to train on")
        parameters = prepared.record["model"]["parameters"]
        self._note(f"model  {settings.model}: {parameters:,} parameters, loss {prepared.record['loss']}")
        extras = [
            f"{name} {getattr(settings, name)}"
            for name in ("weight_decay", "amsgrad", "epsilon_hat", "moment_dtype")
            if getattr(settings, name) not in (0.0, False, "float32")
        ]
        self._note(
            f"Adam   learning_rate {settings.learning_rate:g}, beta_1 {settings.beta_1:g}, beta_2 {settings.beta_2:g}, "
            + ", ".join([f"epsilon {settings.epsilon:g}", *extras])
        )

    def show(self, row: "Epoch") -> None:
        """One epoch, as soon as it is known."""
        if self._live:
            self._add_to_table(row)
            return
        if self._reader_gone:
            return
        line = json.dumps({name: _json_number(value) for name, value in row.items()}) if self._as_json else None
        try:
            print(line or self._line(row), flush=True)
        except BrokenPipeError:  # as with `head`: end as after Ctrl-C, with everything saved
            from adamkit.cli import drop_output

            self._reader_gone = True
            self._notes = sys.stderr
            drop_output()
            signal.raise_signal(signal.SIGINT)

    def warn(self, message: str) -> None:
        """A line on standard error."""
        print(f"adamkit: warning: {message}", file=sys.stderr, flush=True)

    def finish(self, result: "TrainResult", folder: Path) -> None:
        """The summary."""
        history = result.history
        last = history.iloc[-1]
        figures = ", ".join(
            f"{name} {_figure(last[name])}" for name in history.columns if name not in ("epoch", "seconds")
        )
        ended = "ended" if result.interrupted else "done"
        count = f"{len(history)} of {self._epochs}" if result.interrupted else f"{self._epochs}"
        self._note(
            f"{ended:7}{count} {'epoch' if self._epochs == 1 else 'epochs'} in {_duration(result.seconds)}, "
            f"{_duration(history.seconds.iloc[0])} of it the first, with compilation"
        )
        self._note(f"last   {figures}")
        key = "val_loss" if "val_loss" in history else "loss"
        losses = history[key].to_numpy()
        if not np.isnan(losses).all():
            best = int(np.nanargmin(losses))
            self._note(f"best   {key} {_figure(losses[best])} in epoch {best + 1}")
        self._note(f"saved  {folder}")
        wrong = np.flatnonzero(~np.isfinite(history.to_numpy(np.float64)).all(axis=1)) + 1
        if len(wrong):
            self.warn(
                f"the loss or a metric is not finite in {len(wrong)} of {len(history)} epochs, first in epoch "
                f"{wrong[0]}; a smaller learning rate may help"
            )

    def compare(self, earlier: Path, first_difference: int | None) -> None:
        """Whether a repeated run was the same."""
        if first_difference is None:
            self._note(f"same   every loss and metric, to the bit, as in {earlier}")
        else:
            self.warn(f"loss or metrics differ from those of {earlier} from epoch {first_difference} on")

    def _note(self, text: str) -> None:
        print(text, file=self._notes, flush=True)

    def _line(self, row: "Epoch") -> str:
        width = len(str(self._epochs))
        figures = [f"{name} {self._aligned(name, text)}" for name, text in _texts(row)]
        time_taken = self._aligned("seconds", _duration(row["seconds"]))
        line = "  ".join([f"epoch {int(row['epoch']):{width}d}/{self._epochs}", *figures, time_taken])
        return line if _is_finite(row) else f"{line}  not finite"

    def _add_to_table(self, row: "Epoch") -> None:
        width = max(len("epoch"), len(str(self._epochs)))
        texts = _texts(row)
        if row["epoch"] == 1:
            names = [self._aligned(name, name, len("0.0000")) for name, _ in texts]
            self._waiting.append(Text("  ".join([f"{'epoch':>{width}}", *names, f"{'time':>7}"]), "bold"))
        figures = [self._aligned(name, text) for name, text in texts]
        line = Text("  ".join([f"{int(row['epoch']):{width}d}", *figures]))
        line.append(f"  {_duration(row['seconds']):>7}", "dim")
        if not _is_finite(row):
            line.append("  not finite", "red")
        self._waiting.append(line)
        self._progress.update(self._task, completed=row["epoch"])
        if time.monotonic() - self._drawn >= _BETWEEN_DRAWINGS:
            self._draw()

    def _draw(self) -> None:
        if self._waiting:
            self._terminal.print(Text("\n").join(self._waiting))
        self._waiting.clear()
        self._drawn = time.monotonic()

    def _aligned(self, name: str, text: str, least: int = 0) -> str:
        width = self._widths[name] = max(self._widths.get(name, least), len(text))
        return text.rjust(width)


def _texts(row: "Epoch") -> list[tuple[str, str]]:
    return [(name, _figure(value)) for name, value in row.items() if name not in ("epoch", "seconds")]


def _is_finite(row: "Epoch") -> bool:
    return all(math.isfinite(value) for value in row.values())


def _figure(value: float) -> str:
    """Four decimals, or one for large numbers, or five digits and an exponent."""
    if value == 0 or 0.001 <= abs(value) < 1000 or not math.isfinite(value):
        return f"{value:.4f}"
    return f"{value:.1f}" if 1000 <= abs(value) < 1_000_000 else f"{value:.4e}"


def _json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _duration(seconds: float) -> str:
    """Three digits, with the unit."""
    if seconds < 0.9995:
        return f"{seconds * 1000:#.3g}".removesuffix(".") + " ms" if seconds >= 0.0009995 else f"{seconds * 1e6:.0f} µs"
    return f"{seconds:#.3g} s" if seconds < 99.95 else f"{seconds / 60:.1f} min"
