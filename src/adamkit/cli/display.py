"""What a command shows: on a terminal a table with a bar and the time left, elsewhere plain lines, or lines of JSON."""

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from adamkit.cli.streams import drop_output
from adamkit.lab.data import Encoding
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.logs.named import named
from adamkit.lab.logs.tool import files_of

if TYPE_CHECKING:
    from adamkit.lab.runs import Prepared
    from adamkit.lab.runs.folder import RunFolder
    from adamkit.lab.training.trainer import Epoch, TrainResult

_PLAIN = {"epsilon_hat": False, "moment_dtype": "float32"}  # beside the hyperparameters
_BETWEEN_DRAWINGS = 0.05  # seconds; epochs that are faster are drawn several at once


class Output:
    """Lines on the standard output; with `as_json` those are JSON, and all else goes to standard error."""

    def __init__(self, *, as_json: bool = False):
        self.as_json = as_json
        self.terminal = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self.live = not as_json and self.terminal.is_terminal
        self._notes = sys.stderr if as_json else sys.stdout
        self._reader_gone = False

    def line(self, text: str) -> None:
        """A line of a run that goes on."""
        if self._reader_gone:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self.end_without_reader()

    def end_without_reader(self) -> None:
        """The reader of a pipe has gone, as `head` does: end as after Ctrl-C, with everything saved."""
        self._reader_gone = True
        self._notes = sys.stderr
        drop_output()
        signal.raise_signal(signal.SIGINT)

    def json_line(self, values: Mapping[str, Any]) -> None:
        """An object of JSON."""
        self.line(json.dumps({name: _json_number(value) for name, value in values.items()}))

    def note(self, text: str) -> None:
        """A line before or after it."""
        print(text, file=self._notes, flush=True)

    def warn(self, message: str) -> None:
        """A line on standard error."""
        print(f"adamkit: warning: {message}", file=sys.stderr, flush=True)

    def report(self, folder: "RunFolder") -> None:
        """Write the report of a run that has ended, and say where it is; a warning where that fails."""
        from adamkit.lab.insight import reports

        path = reports.attempt(lambda: reports.page_of(folder), folder.path, self.warn)
        if path is not None:
            self.note(f"report {path}")

    def logged(self, places: Iterable[str]) -> None:
        """Say where the tools have the run."""
        for i, place in enumerate(places):
            self.note(f"{'' if i else 'logged':7}{place}")

    def send(
        self,
        send: Callable[..., list[str]],
        names: Sequence[str],
        folder: "RunFolder",
        parameters: Mapping[str, Any],
        result: Any,
    ) -> None:
        """Send a sweep or a comparison, by `logs.tables`, to the tools of these names."""
        if not names or not len(result.history):
            return
        path = folder.path.resolve()
        self.logged(send(named(names, path), path.name, parameters, result, files_of(path), self.warn))

    def data_and_model(self, record: Mapping[str, Any]) -> None:
        """Say what is trained, on what, from what `run.json` holds."""
        data, settings = record["data"], record["settings"]
        columns = data["row_shape"]
        shape = f"{' × '.join(map(str, columns))} {'feature' if columns == [1] else 'features'}"
        kind = {"binary": "2 classes", "number": "a number to predict"}.get(
            data["target"], f"{len(data['class_names'] or ())} classes"
        )
        self.note(f"data   {settings['data']}: {data['rows']} rows of {shape}, {kind}")
        if data["validation_rows"]:
            self.note(f"       {data['validation_rows']} more rows to validate on")
        if data.get("test_rows"):
            self.note(f"       {data['test_rows']} more rows to measure once, at the end")
        encoding = Encoding.of(data["columns"]) if data.get("columns") else None
        for line in encoding.described() if encoding else ():
            self.note(f"       {line}")
        if data["standardized"]:
            which = "numbers and dates" if encoding and not encoding.measured.all() else "features"
            self.note(f"       {which} standardized: mean 0, variance 1 on the rows to train on")
        for line in encoding.left_out() if encoding else ():
            self.warn(line)
        parameters = record["model"]["parameters"]
        self.note(f"model  {settings['model']}: {parameters:,} parameters, loss {record['loss']}")

    def adam(self, settings: Mapping[str, Any], without: Collection[str] = ()) -> None:
        """Say which hyperparameters Adam has, but for some."""
        values = {
            known: settings[known.name]
            for known in HYPERPARAMETERS.values()
            if known.of in ("schedule", "adam") and known.name in settings and known.name not in without
        }
        shown = [
            f"{known.name} {value:g}" if known.kind == "number" else f"{known.name} {value}"
            for known, value in values.items()
            if (known.symbol and known.default) or value != known.default
        ]
        shown += [
            f"{name} {settings[name]}"
            for name, plain in _PLAIN.items()
            if name not in without and settings.get(name, plain) != plain
        ]
        self.note(f"Adam   {', '.join(shown)}")


class Display(Output):
    """Shows a run on the standard output; with `as_json` only one line of JSON an epoch, the rest on standard error."""

    def __init__(self, epochs: int, *, as_json: bool = False):
        super().__init__(as_json=as_json)
        self._epochs = epochs
        self._widths: dict[str, int] = {}  # of the columns: they never become narrower
        self._waiting: list[Text] = []  # rows of the table that are not drawn yet
        self._drawn = -math.inf
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.terminal,
            transient=True,
            disable=not self.live,
        )
        self._task = self._progress.add_task("", total=epochs)
        self._headed = False

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._draw()
        self._progress.stop()

    def start(self, prepared: "Prepared") -> None:
        """Say what is trained, on what, and how."""
        self.data_and_model(prepared.record | {"settings": asdict(prepared.settings)})
        self.adam(asdict(prepared.settings))

    def show(self, row: "Epoch") -> None:
        """One epoch, as soon as it is known."""
        if self.live:
            self._add_to_table(row)
        elif self.as_json:
            self.json_line(row)
        else:
            self.line(self._plain(row))

    def finish(self, result: "TrainResult", folder: Path) -> None:
        """The summary."""
        history = result.history
        last = history.iloc[-1]
        figures = ", ".join(
            f"{name} {figure(last[name])}" for name in history.columns if name not in ("epoch", "seconds")
        )
        ended = "ended" if result.interrupted else "done"
        count = f"{len(history)} of {self._epochs}" if result.interrupted else f"{self._epochs}"
        epochs = "epoch" if self._epochs == 1 else "epochs"
        if result.resumed_after:
            trained = len(history) - result.resumed_after
            self.note(f"{ended:7}{count} {epochs}, {trained} of them now, in {duration(result.seconds)}")
        else:
            self.note(
                f"{ended:7}{count} {epochs} in {duration(result.seconds)}, "
                f"{duration(history.seconds.iloc[0])} of it the first, with compilation"
            )
        self.note(f"last   {figures}")
        key = "val_loss" if "val_loss" in history else "loss"
        losses = history[key].to_numpy() if key in history else np.array(np.nan)  # a step of the user's may report none
        if not np.isnan(losses).all():
            best = int(np.nanargmin(losses))
            self.note(f"best   {key} {figure(losses[best])} in epoch {best + 1}")
        if result.test is not None:
            self.note(f"test   {', '.join(f'{name} {figure(value)}' for name, value in result.test.items())}")
        self.note(f"saved  {folder}")
        wrong = np.flatnonzero(~np.isfinite(history.to_numpy(np.float64)).all(axis=1)) + 1
        if len(wrong):
            self.warn(
                f"the loss or a metric is not finite in {len(wrong)} of {len(history)} epochs, first in epoch "
                f"{wrong[0]}; a smaller learning rate may help"
            )

    def compare(self, earlier: Path, first_difference: int | None) -> None:
        """Whether a repeated run was the same."""
        if first_difference is None:
            self.note(f"same   every loss and metric, to the bit, as in {earlier}")
        else:
            self.warn(f"loss or metrics differ from those of {earlier} from epoch {first_difference} on")

    def _plain(self, row: "Epoch") -> str:
        width = len(str(self._epochs))
        figures = [f"{name} {self._aligned(name, text)}" for name, text in _texts(row)]
        time_taken = self._aligned("seconds", duration(row["seconds"]))
        line = "  ".join([f"epoch {int(row['epoch']):{width}d}/{self._epochs}", *figures, time_taken])
        return line if _is_finite(row) else f"{line}  not finite"

    def _add_to_table(self, row: "Epoch") -> None:
        width = max(len("epoch"), len(str(self._epochs)))
        texts = _texts(row)
        if not self._headed:
            self._headed = True
            names = [self._aligned(name, name, len("0.0000")) for name, _ in texts]
            self._waiting.append(Text("  ".join([f"{'epoch':>{width}}", *names, f"{'time':>7}"]), "bold"))
        figures = [self._aligned(name, text) for name, text in texts]
        line = Text("  ".join([f"{int(row['epoch']):{width}d}", *figures]))
        line.append(f"  {duration(row['seconds']):>7}", "dim")
        if not _is_finite(row):
            line.append("  not finite", "red")
        self._waiting.append(line)
        self._progress.update(self._task, completed=row["epoch"])
        if time.monotonic() - self._drawn >= _BETWEEN_DRAWINGS:
            self._draw()

    def _draw(self) -> None:
        if self._waiting:
            self.terminal.print(Text("\n").join(self._waiting))
        self._waiting.clear()
        self._drawn = time.monotonic()

    def _aligned(self, name: str, text: str, least: int = 0) -> str:
        width = self._widths[name] = max(self._widths.get(name, least), len(text))
        return text.rjust(width)


def _texts(row: "Epoch") -> list[tuple[str, str]]:
    return [(name, figure(value)) for name, value in row.items() if name not in ("epoch", "seconds")]


def _is_finite(row: "Epoch") -> bool:
    return all(math.isfinite(value) for value in row.values())


def figure(value: float) -> str:
    """Four decimals, or one for large numbers, or five digits and an exponent."""
    if value == 0 or 0.001 <= abs(value) < 1000 or not math.isfinite(value):
        return f"{value:.4f}"
    return f"{value:.1f}" if 1000 <= abs(value) < 1_000_000 else f"{value:.4e}"


def _json_number(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def duration(seconds: float) -> str:
    """Three digits, with the unit."""
    if seconds < 0.9995:
        return f"{seconds * 1000:#.3g}".removesuffix(".") + " ms" if seconds >= 0.0009995 else f"{seconds * 1e6:.0f} µs"
    if seconds < 99.95:
        return f"{seconds:#.3g} s"
    for unit, size, most in (("min", 60, 100), ("hours", 3600, 48), ("days", 86400, 1000)):
        if seconds < most * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / (365.25 * 86400):,.0f} years"


def bars(values: np.ndarray, low: float, high: float, *, height: int = 4) -> list[str]:
    """A chart of text: values (columns,) as bars from `low` to `high`, `height` lines of eight steps each.

    NaN: nothing is known. Infinite: a cross, at the bottom for -inf.
    """
    finite = np.isfinite(values)
    share = np.clip((np.where(finite, values, low) - low) / ((high - low) or 1.0), 0, 1)
    eighths = np.where(finite, 1 + np.round(share * (8 * height - 1)), 0).astype(int)
    lines = []
    for row in reversed(range(height)):
        line = [" ▁▂▃▄▅▆▇█"[min(max(n - 8 * row, 0), 8)] for n in eighths]
        for column in np.flatnonzero(np.isinf(values)):
            if row == (height - 1 if values[column] > 0 else 0):
                line[column] = "×"
        lines.append("".join(line))
    return lines


def can_draw() -> bool:
    """Whether the standard output takes the characters of `bars`."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def files(folder: Path) -> list[str]:
    """What a folder has that somebody may want to open."""
    return sorted(
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name not in ("parts", "run.json")
    )
