"""What a comparison shows: how far it is; at the end its tables, as wide as the terminal is, and the verdict."""

import math
import shutil
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adamkit.cli.display import Output, duration, figure, files
from adamkit.lab.hyperparameters import HYPERPARAMETERS

if TYPE_CHECKING:
    from adamkit.lab.comparing.audited import Audit
    from adamkit.lab.comparing.result import Comparison
    from adamkit.lab.comparing.tuning import Progress
    from adamkit.lab.runs.comparisons import Plan
    from adamkit.lab.runs.folder import RunFolder

_BETWEEN_LINES = 2.0  # seconds, where there is no terminal
_INDENT = 7  # of what stands under a word


class CompareDisplay(Output):
    """Shows a comparison on the standard output; with `as_json` only lines of JSON, the rest on standard error."""

    def __init__(self, plan: "Plan", folder: "RunFolder", *, as_json: bool = False):
        super().__init__(as_json=as_json)
        self.plan, self._folder = plan, folder
        self._last: Progress | None = None
        self._shown = -math.inf
        self._live = Live(console=self.terminal, get_renderable=self._view, transient=True, auto_refresh=False)

    def __enter__(self) -> "CompareDisplay":
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def start(self, record: dict[str, Any]) -> None:
        """Say what is compared, on what, and how."""
        plan = self.plan
        self.data_and_model(record)
        if plan.label_noise:
            self.note(f"       {plan.label_noise:.0%} of the rows to train on have a wrong label")
        self.wrapped("with", ", ".join(plan.optimizers))
        self.note(f"{'':{_INDENT}}{self.plan_in_words()}")
        if self.live:
            self._live.start()

    def plan_in_words(self) -> str:
        """What is trained."""
        plan = self.plan
        return (
            f"{plan.budget} settings each, {plan.settings.epochs} epochs, batches of {plan.settings.batch_size}; the "
            f"best again with {plan.seeds} seeds"
        )

    def show(self, progress: "Progress") -> None:
        """How far it is."""
        self._last = progress
        now = time.monotonic()
        if self.live:
            self._live.refresh()
        elif now - self._shown >= _BETWEEN_LINES or progress.done == progress.total:
            self._shown = now
            (self.note if self.as_json else self.line)(self._progress_text())

    def finish(self, result: "Comparison | Audit") -> None:
        """What came out."""
        path, summary = self._folder.path, result.summary
        word = "ended" if result.described["interrupted"] else "done"
        self.note(f"{word:7}{len(result.optimizers)} optimizers in {duration(result.described['seconds'])}")
        if len(summary):
            self.show_tables(result)
        for i, sentence in enumerate(result.verdict):
            self.wrapped("" if i else "shows", sentence)
        self.note(f"saved  {path}: {', '.join(files(path))}")
        if result.described["interrupted"]:
            self.note(f"next   adamkit compare --resume {path}")

    def finish_json(self, result: "Comparison | Audit") -> None:
        """With `as_json`, a line an optimizer, and one of the verdict."""
        if self.as_json:
            for row in self.json_rows(result):
                self.json_line(row)
            self.json_line({"verdict": result.verdict})

    def json_rows(self, result: Any) -> list[dict[str, Any]]:
        """A line an optimizer, with what to expect of the best by budget."""
        expected, rows = result.expected_best, []
        for row in result.summary.to_dict(orient="records"):
            own = expected.loc[(expected.optimizer == row["optimizer"]) & (expected.metric == result.metric)]
            best = {f"expected_best_{k}": value for k, value in zip(own.budget, own["value"], strict=True)}
            rows.append(row | best)
        return rows

    def _view(self) -> Group:
        if self._last is None:
            return Group(Text(""))
        line = Table.grid(padding=(0, 1))
        width = max(min(30, shutil.get_terminal_size().columns - 45), 5)
        bar = ProgressBar(total=max(self._last.total, 1), completed=self._last.done, width=width)
        line.add_row(bar, Text(self._progress_text(), overflow="ellipsis", no_wrap=True))
        return Group(line)

    def _progress_text(self) -> str:
        last = self._last
        if last is None:
            return ""
        at_work = [f"{name} ({stage})" for name, stage in last.stages.items() if stage not in ("waits", "done")]
        done = sum(stage == "done" for stage in last.stages.values())
        parts = [f"{last.done:,}/{last.total:,} runs", f"{done} of {len(last.stages)} done", *at_work]
        return ", ".join([*parts, duration(last.seconds)])

    def show_tables(self, result: Any) -> None:
        """The tables."""
        summary, metric = result.summary, result.metric
        others = [str(c) for c in summary if str(c).startswith("test_") and c != f"test_{metric}"]
        head = [f"test {metric}", "from", "to", *(name.replace("_", " ") for name in others)]
        head += ["train loss", "gap", "at equal loss", "epochs to goal", "time to goal", "good decades", "diverged"]
        rows = []
        for row in summary.to_dict(orient="records"):
            figures = [figure(row[name]) for name in (f"test_{metric}", "low", "high", *others, "loss", "gap")]
            figures.append(known(row["at_equal_loss"], figure(row["at_equal_loss"])))
            figures.append(known(row["epochs_to_goal"], f"{row['epochs_to_goal']:g}"))
            figures.append(known(row["seconds_to_goal"], duration(row["seconds_to_goal"])))
            figures.append(known(row["decades"], f"{row['decades']:.1f}"))
            rows.append([row["optimizer"], *figures, f"{row['diverged']:.0%}"])
        self.wrapped(
            "best", f"on the test part, 95 % bands; the goal is a validation {metric} of {figure(result.goal)}"
        )
        self.table(["optimizer", *head], rows)
        expected = result.expected_best.loc[result.expected_best.metric == metric]
        wide = expected.pivot(index="optimizer", columns="budget", values="value")
        self.wrapped("budget", f"test {metric} to expect of the best of so many settings")
        self.table(
            ["optimizer", *map(str, wide.columns)],
            [[name, *map(figure, wide.loc[name])] for name in summary.optimizer],
        )
        self.wrapped("set to", "the best settings")
        for row in summary.to_dict(orient="records"):
            own = [name for name in HYPERPARAMETERS if name in row and row[name] == row[name]]
            self.wrapped("", f"{row['optimizer']}: {', '.join(f'{name} {setting(row[name])}' for name in own)}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Lines; the columns that the terminal has no room for stand below, with the first one again."""
        table = [list(head), *map(list, rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        room = shutil.get_terminal_size().columns - _INDENT - widths[0]
        blocks: list[list[int]] = [[]]
        left = room
        for i in range(1, len(head)):
            if blocks[-1] and widths[i] + 2 > left:
                blocks.append([])
                left = room
            blocks[-1].append(i)
            left -= widths[i] + 2
        for block in blocks:
            for row in table:
                text = "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in block)])
                self.note(f"{'':{_INDENT}}{text}")

    def wrapped(self, word: str, text: str) -> None:
        """A word, and text beside it in lines that fit the terminal."""
        width = max(shutil.get_terminal_size().columns - _INDENT - 1, 20)
        for i, line in enumerate(textwrap.wrap(text, width) or [""]):
            self.note(f"{word if not i else '':{_INDENT}}{' ' if len(word) >= _INDENT and not i else ''}{line}")


def known(value: float, text: str) -> str:
    """The text of a number, where it is one."""
    return text if math.isfinite(value) else "–"


def setting(value: Any) -> str:
    """The value of a hyperparameter, as text."""
    return str(value).lower() if isinstance(value, bool) else f"{value:.4g}"
