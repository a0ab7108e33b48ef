"""What a sweep shows: how far it is, the best so far, the objective over a hyperparameter; at the end, what it says."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adamkit.cli.display import Output, bars, can_draw, duration, figure, files
from adamkit.lab.hyperparameters import HYPERPARAMETERS

if TYPE_CHECKING:
    from adamkit.lab.runs.folder import RunFolder
    from adamkit.lab.runs.sweeps import Plan
    from adamkit.lab.sweeping.sweeper import Progress, SweepResult

_BEST = 10  # settings in the table at the end
_WIDTH, _HEIGHT = 64, 4  # characters of the chart
_FEW = 6  # values of a hyperparameter that are named one by one
_BETWEEN_DRAWINGS = 0.1  # seconds, on a terminal
_BETWEEN_LINES, _SHARE_OF_LINES = 1.0, 0.1  # seconds and share of the time so far, elsewhere
_LOG_FROM = 10  # highest to lowest, of the chart
_CROWDED = 0.8  # the chart reaches to where this share of its columns is; the rest is as high


class SweepDisplay(Output):
    """Shows a sweep; as a context manager, live. `clock` gives seconds."""

    def __init__(
        self, plan: "Plan", folder: "RunFolder", *, as_json: bool = False, clock: Callable[[], float] = time.monotonic
    ):
        super().__init__(as_json=as_json)
        self._clock = clock
        self._plan, self._folder = plan, folder
        self._total = len(plan.space) * plan.seeds
        self._columns = _Columns(plan.space, min(_WIDTH, self.terminal.width - 12))
        self._began = self._clock()
        self._first: Progress | None = None
        self._last: Progress | None = None
        self._shown = -math.inf
        self._below = Text("compiling …", "dim")
        self._objective = plan.objective or "loss"
        self._live_view = Live(
            console=self.terminal, get_renderable=self._view, refresh_per_second=8, transient=True, screen=False
        )

    def __enter__(self) -> "SweepDisplay":
        if self.live:
            self._live_view.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live_view.stop()

    def show(self, progress: "Progress") -> None:
        """How far it is."""
        if self._first is None:
            self._first = progress
            try:
                self._start()
            except BrokenPipeError:
                self.end_without_reader()
        self._last = progress
        now = self._clock()
        waited = now - self._shown
        ends = progress.done == self._total and self._plan.halving is None
        if self.live and (waited >= _BETWEEN_DRAWINGS or ends):
            self._below = self._best_and_chart(progress.summary)
        elif not self.live and (waited >= max(_BETWEEN_LINES, _SHARE_OF_LINES * progress.seconds) or ends):
            best = _best(progress.summary)
            text = f"{self._progress_text()}{'' if best is None else f'  best {self._in_words(best)}'}"
            (self.note if self.as_json else self.line)(text)
        else:
            return
        self._shown = now

    def finish(self, result: "SweepResult") -> None:
        """What came out."""
        path, plan = self._folder.path, self._plan
        if self._first is None:  # nothing was left to do
            self._start()
        summary = result.summary if len(result.history) else pd.DataFrame()
        runs = len(result.history[["setting", "seed"]].drop_duplicates())
        settings = _counted(len(plan.space), "setting") + (f" × {plan.seeds} seeds" if plan.seeds > 1 else "")
        if result.interrupted:
            self.note(f"ended  {runs:,} of {self._total:,} runs in {duration(result.seconds)}")
        else:
            first = (
                "" if self._first is None else f", {duration(self._first.seconds)} of it the first, with compilation"
            )
            self.note(f"done   {settings} in {duration(result.seconds)}{first}")
            if result.at_once == 1 and len(plan.space) > (os.cpu_count() or 1):
                self.note("       one after the other on each core, which is the faster way for a model of this size")
        if len(result.failed):
            self.note(f"failed {_counted(len(result.failed), 'run')}: {result.failed.reason.iloc[-1]}")
        if len(summary):
            self._show_result(result, summary)
        self.note(f"saved  {path}: {', '.join(files(path))}")
        if result.interrupted or len(result.failed):
            self.note(f"next   adamkit sweep --resume {path}")
        elif np.min(summary["diverged"]) < 1:
            self.note(f"next   adamkit train --best-of {path}")
        if self.as_json:
            for row in summary.to_dict(orient="records"):
                self.json_line({str(name): value for name, value in row.items()})

    def _compilation(self) -> str:
        first = self._first
        return "" if first is None else f", {duration(first.seconds)} of it the first {first.done:,}, with compilation"

    def _start(self) -> None:
        settings, plan = self._plan.settings, self._plan
        record = self._folder.read_record()
        if plan.objective is None and record["data"]["validation_rows"]:
            self._objective = "val_loss"
        self.data_and_model(record | {"settings": asdict(settings)})
        self.adam(asdict(settings), without=plan.space[0])
        for i, name in enumerate(plan.space[0]):
            self.note(f"{'' if i else 'space':7}{name} {_values_in_words(name, [one[name] for one in plan.space])}")
        seeds = f" × {plan.seeds} seeds" if plan.seeds > 1 else ""
        batches = "" if "batch_size" in plan.space[0] else f", batches of {settings.batch_size}"
        epochs = f"{_counted(settings.epochs, 'epoch')} each"
        self.note(f"       {_counted(len(plan.space), 'setting')}{seeds}, {epochs}{batches}")

    def _view(self) -> Group:
        done = 0 if self._last is None else self._last.done
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=self._total, completed=done, width=30), Text(self._progress_text()))
        return Group(line, self._below)

    def _progress_text(self) -> str:
        first, last = self._first, self._last
        if first is None or last is None:
            return f"0/{self._total:,} runs, {duration(self._clock() - self._began)}"
        texts = [f"{last.done:,}/{self._total:,} runs"]
        if self._plan.halving is not None:
            epochs = np.asarray(last.summary["epochs"])
            texts.append(f"{_counted(int(np.sum(epochs == epochs.max())), 'setting')} at epoch {epochs.max()}")
            return ", ".join([*texts, duration(last.seconds)])
        if last is first:  # its time has compilation in it
            return ", ".join([*texts, f"{duration(last.seconds)} with compilation"])
        rate = (last.done - first.done) / (last.seconds - first.seconds)
        if last.done == self._total:
            return ", ".join([*texts, _rate(rate)])
        since = self._clock() - self._began - last.seconds
        left = max((self._total - last.done) / max(rate, 1e-9) - since, 0.0)
        return ", ".join([*texts, _rate(rate), f"{duration(left) if left >= 1 else 'under 1 s'} left"])

    def _best_and_chart(self, summary: pd.DataFrame) -> Text:
        best = _best(summary)
        lines = [] if best is None else [f"best   {self._in_words(best)}"]
        return Text("\n".join([*lines, *self._chart(summary)]))

    def _chart(self, summary: pd.DataFrame) -> list[str]:
        metric = self._objective.removeprefix("-")
        return self._columns.chart(summary, metric, is_large_good=self._objective.startswith("-"))

    def _in_words(self, setting: Mapping[str, Any]) -> str:
        names = self._columns.varied or self._plan.space[0]
        values = ", ".join(f"{name} {_text(name, setting[name])}" for name in names)
        return f"{self._objective.removeprefix('-')} {figure(self._metric(setting['mean']))} with {values}"

    def _metric(self, mean: float) -> float:
        return -mean if self._objective.startswith("-") else mean

    def _show_result(self, result: "SweepResult", summary: pd.DataFrame) -> None:
        metric, plan = self._objective.removeprefix("-"), self._plan
        best = result.best(_BEST)
        best = best.loc[np.isfinite(best["mean"])]
        if len(best):
            of = f"{len(best)} of {_counted(len(summary), 'setting')}"
            seeds = f", mean and spread of {plan.seeds} seeds" if plan.seeds > 1 else ""
            self.note(f"best   {of}, by {metric} after {_counted(int(best['epochs'].max()), 'epoch')}{seeds}")
            names = list(self._columns.varied or plan.space[0])
            head = ["setting", *names, metric, *(["spread"] if plan.seeds > 1 else [])]
            rows = [
                [
                    str(row["setting"]),
                    *(_text(name, row[name]) for name in names),
                    figure(self._metric(row["mean"])),
                    *([figure(row["std"])] if plan.seeds > 1 else []),
                ]
                for row in best.to_dict(orient="records")
            ]
            for line in _aligned([head, *rows]):
                self.note(f"       {line}")
        if can_draw():
            for line in self._chart(summary):
                self.note(line)
        for i, sentence in enumerate(result.sensitivity().describe()):
            self.note(f"{'' if i else 'shows':7}{sentence}")


class _Columns:
    """Which settings stand in which column of a chart over one hyperparameter: the learning rate, if it varies."""

    def __init__(self, space: Sequence[dict[str, Any]], width: int):
        values = {name: np.array([setting[name] for setting in space]) for name in space[0]}
        self.varied = [name for name, column in values.items() if len(np.unique(column)) > 1]
        numbers = [name for name in self.varied if HYPERPARAMETERS[name].kind != "flag"]
        self.name = "learning_rate" if "learning_rate" in numbers else numbers[0] if numbers else None
        if self.name is None or width < 2:
            self.name = None
            return
        different, place = np.unique(values[self.name], return_inverse=True)
        self._low, self._high = different[0], different[-1]
        self._count = min(len(different), width)
        self._column = place * self._count // len(different)
        self._repeat = width // self._count

    def chart(self, summary: pd.DataFrame, metric: str, *, is_large_good: bool) -> list[str]:
        """Lines of a chart of the best setting in each column."""
        if self.name is None or self._count < 3 or not len(summary):
            return []
        column = self._column[summary.setting.to_numpy()]
        best = np.full(self._count, np.inf)
        np.minimum.at(best, column, summary["mean"].to_numpy())
        known = np.isin(np.arange(self._count), column)
        values = np.where(known, -best if is_large_good else best, np.nan)
        finite = values[np.isfinite(values)]
        if not len(finite):
            return []
        ends = np.quantile(finite, [1 - _CROWDED, 1] if is_large_good else [0, _CROWDED])
        marks = ["≥" if finite.max() > ends[1] else "", "≤" if finite.min() < ends[0] else ""]
        labels = [marks[0] + figure(ends[1]), *[""] * (_HEIGHT - 2), marks[1] + figure(ends[0])]
        if ends[0] > 0 and ends[1] >= _LOG_FROM * ends[0]:
            values = np.where(np.isfinite(values), np.log(np.clip(values, *ends)), values)
            ends = np.log(ends)
        drawn = bars(np.repeat(values, self._repeat), *ends, height=_HEIGHT)
        lines = [f"{label:>10} {line}" for label, line in zip(labels, drawn, strict=True)]
        low, high = _text(self.name, self._low), _text(self.name, self._high)
        width = self._count * self._repeat
        axis = f"{low}{f'{metric} over {self.name}':^{max(width - len(low) - len(high), 0)}}{high}"
        return [*lines, f"{'':10} {axis}"]


def _best(summary: pd.DataFrame) -> dict[str, Any] | None:
    """The best of the settings that have come furthest; None where all diverge."""
    furthest = summary.loc[(summary["epochs"] == summary["epochs"].max()) & np.isfinite(summary["mean"])]
    return furthest.nsmallest(1, "mean").to_dict(orient="records")[0] if len(furthest) else None


def _values_in_words(name: str, values: list[Any]) -> str:
    different = sorted(set(values))
    if len(different) <= _FEW:
        return ", ".join(_text(name, value) for value in different)
    return f"{_text(name, different[0])} to {_text(name, different[-1])}, {len(different):,} values"


def _text(name: str, value: Any) -> str:
    known = HYPERPARAMETERS[name]
    if known.kind == "flag":
        return str(bool(value)).lower()
    return f"{value:.7g}" if known.is_decay or known.kind == "integer" else f"{value:.4g}"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _rate(rate: float) -> str:
    return f"{rate:.3g} runs a second" if rate < 1000 else f"{rate:,.0f} runs a second"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
