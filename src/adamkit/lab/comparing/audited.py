"""What an audit gave: where untuned optimizers stand among many settings of Adam, and what that says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab import disk
from adamkit.lab.comparing.result import Trained, about, ordered, read, tables_of, write
from adamkit.lab.comparing.statistics import interval, percentiles
from adamkit.lab.comparing.tuning import GRID
from adamkit.lab.comparing.words import figure, listed, missing
from adamkit.lab.hyperparameters import HYPERPARAMETERS

AUDIT, TUNED = "audit.json", "tuned adam"
Table = Any  # a pandas.DataFrame, whose columns no type checker follows


@dataclass
class Audit(Trained):
    """What an audit gave.

    Attributes:
        history: One row a run and epoch, as `Comparison.history`; `stage` is `"grid"`, where `optimizer` is `"grid"`
            too, or `"untuned"`.
        runs: One row a run: the same, at its end, and with `test_` before the name what it reaches on the test part.
        described: How it was made: `objective`, `budget`, `seeds`, `epochs`, `batch_size`, `seed`, `rows` (to train,
            validate and test on), `start` (what the untrained model reaches), `optimizers` (by name: `settings`,
            `space`, `ends` …), `failures`, `seconds` and `interrupted`.
    """

    @classmethod
    def of(cls, found: Sequence[Any], described: dict[str, Any]) -> "Audit":
        """From what `tuning.Tuning` found of the grid and of each optimizer."""
        history, runs = tables_of(found)
        return cls(history, runs, described | {"optimizers": {one.given.name: about(one) for one in found}})

    @classmethod
    def load(cls, folder: str | Path) -> "Audit":
        """The audit in a folder, also one that was interrupted.

        Raises:
            InputError: The folder holds none that is finished or was interrupted, or a damaged one.
        """
        return cls(*read(Path(folder), AUDIT, ("optimizers", "start", "budget", "seeds", "objective"), "an audit"))

    def save(self, folder: str | Path) -> None:
        """Write `audit.json`, `history.parquet` and `runs.parquet`, which `load` reads, and tables as `.csv`."""
        tables = {disk.SUMMARY: self.summary, "by_seed.csv": self.by_seed}
        write(Path(folder), self.history, self.runs, tables, AUDIT, self.described)

    @property
    def optimizers(self) -> list[str]:
        """Those that are finished, in the order that they were given in; none before the grid is."""
        done = list(self.described["optimizers"])
        return [name for name in done if name != GRID and GRID in done]

    @cached_property
    def by_seed(self) -> Table:
        """One row an optimizer and seed, and one a seed of `"tuned adam"`, the setting of the grid that tuning keeps.

        That is the best on the validation part with the same seed. Columns: `optimizer`, `seed`, the hyperparameters,
        the training loss, `val_…` and `test_…` of the run at its end; `percentile`, the share of the grid in percent
        that does better on the test part with the same seed, ties half; `cost`, how much worse than `"tuned adam"` it
        is there, negative where it is better.
        """
        if not self.optimizers:
            return pd.DataFrame({"optimizer": []})
        reached, validated = (self.grid(f"{part}_{self.metric}") for part in ("test", "val"))
        kept = zip(validated.to_numpy().argmin(axis=0), validated.columns, strict=True)
        is_grid = self.runs.stage == GRID
        tuned = self.runs.loc[is_grid].set_index(["setting", "seed"]).loc[list(kept)].reset_index()
        best = self._small(tuned[f"test_{self.metric}"])
        tables = []
        for name, own in [(TUNED, tuned), *self.runs.loc[~is_grid].groupby("optimizer", sort=False)]:
            own: Table = own.sort_values("seed").assign(optimizer=name)
            values = self._small(own[f"test_{self.metric}"])
            with np.errstate(invalid="ignore"):  # where both diverged
                cost = values - best
            tables.append(own.assign(percentile=percentiles(values, reached.to_numpy()), cost=cost))
        return ordered(pd.concat(tables, ignore_index=True).drop(columns=["stage", "setting"]))

    @cached_property
    def summary(self) -> Table:
        """One row an optimizer, the best first, and one of `"tuned adam"`.

        Columns: `optimizer`; its hyperparameters, where all seeds have the same; the training loss, `val_…` and
        `test_…`, means over seeds; `percentile`, the mean, `lowest` and `highest` over seeds; `cost`, the mean, and
        `cost_low` and `cost_high`, where the mean of many seeds would lie (95 %, by Student's t).
        """
        rows = []
        for name, own in self.by_seed.groupby("optimizer", sort=False):
            known = [column for column in HYPERPARAMETERS if column in own and own[column].nunique() == 1]
            measured = [column for column in own if column == "loss" or str(column).startswith(("val_", "test_"))]
            low, high = interval(own.cost.to_numpy())
            rows.append(
                {"optimizer": name}
                | ({column: own[column].iloc[0] for column in known} if name != TUNED else {})
                | {column: float(own[column].to_numpy().mean()) for column in measured}
                | {"percentile": own.percentile.mean(), "lowest": own.percentile.min(), "highest": own.percentile.max()}
                | {"cost": float(own.cost.to_numpy().mean()), "cost_low": low, "cost_high": high}
            )
        rows.sort(key=lambda row: row["percentile"])
        return ordered(pd.DataFrame(rows)) if rows else pd.DataFrame({"optimizer": []})

    @cached_property
    def verdict(self) -> list[str]:
        """What this says, in sentences."""
        sentences = []
        rows = {row["optimizer"]: row for row in self.summary.to_dict(orient="records")}
        tuned = rows.pop(TUNED, None)
        if rows and tuned:
            sentences += [_conclusion(rows, self.described["seeds"]), *(self._sentence(row) for row in rows.values())]
        if tuned:
            sentences.append(
                f"Percentiles are among {len(self.grid('loss'))} settings of adam with the same starts, data and "
                "epochs: 0 is better than all, 100 worse than all. Tuned is what is best of them on the validation "
                f"part: it reaches a test {self.metric} of {figure(tuned[f'test_{self.metric}'])}, "
                f"{_percentile(tuned['percentile'])}."
            )
        for name, end in self.described["optimizers"].get(GRID, {"ends": {}})["ends"].items():
            sentences.append(f"The best settings lie at the {end} end of {name}: tuning may do better than shown.")
        return [*sentences, *missing(self.described, "The audit was interrupted: what was not finished is not in it.")]

    def grid(self, column: str) -> Table:
        """What the settings of the grid reach, by setting and seed: small is good, inf where a run diverged."""
        runs = self.runs.loc[self.runs.stage == GRID]
        return runs.assign(value=self._small(runs[column])).pivot(index="setting", columns="seed", values="value")

    def _small(self, values: Any) -> np.ndarray:
        signed = (-1.0 if self.is_large_good else 1.0) * values.to_numpy()
        return np.where(np.isfinite(signed), signed, np.inf)

    def _sentence(self, row: dict[str, Any]) -> str:
        seeds, metric = self.described["seeds"], f"test {self.metric}"
        over = f" ({row['lowest']:.0f} to {row['highest']:.0f} over {seeds} seeds)" if seeds > 1 else ""
        stands = f"Untuned {row['optimizer']} ends at {_percentile(row['percentile'])}{over}"
        value, cost = row[f"test_{self.metric}"], row["cost"]
        if not math.isfinite(cost):
            return f"{stands}: it diverges with a seed, or {TUNED} does."
        between = sorted(abs(end) for end in (row["cost_low"], row["cost_high"])) if _is_sure(row) else ()
        band = f" ({figure(between[0])} to {figure(between[1])})" if between else ""
        than = (
            f"{figure(abs(cost))}{band} {'worse' if cost > 0 else 'better'} than tuned" if cost else f"that of {TUNED}"
        )
        return f"{stands}: its {metric} of {figure(value)} is {than}."

    def _repr_html_(self) -> str:
        """In a notebook: the first sentence, where each optimizer stands, and the grid."""
        from adamkit.lab.insight.charts import audit as charts
        from adamkit.lab.insight.reports import notebook

        heading = self.verdict[0] if len(self.summary) else "The grid is not finished"
        columns = ["optimizer", f"test_{self.metric}", "percentile", "lowest", "highest", "cost"]
        table = self.summary[[name for name in columns if name in self.summary]]
        return notebook.html(heading, table, charts.charts_of(self).get("grid"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from adamkit.lab.insight.reports import notebook

        return notebook.bundle(self)


def _conclusion(rows: dict[str, dict[str, Any]], seeds: int) -> str:
    """Whether not tuning costs anything."""
    if seeds < 2:
        return "What not tuning costs cannot be told from luck by one seed."
    costly = [name for name, row in rows.items() if row["cost_low"] > 0 or not math.isfinite(row["cost"])]
    better = [name for name, row in rows.items() if row["cost_high"] < 0]
    same = [name for name in rows if name not in (*costly, *better)]
    parts = [f"costs something beyond luck with {listed(costly)}"] if costly else []
    parts += [f"costs nothing that {seeds} seeds can tell from luck with {listed(same)}"] if same else []
    parts += [f"beats tuning beyond luck with {listed(better)}"] if better else []
    return f"Not tuning {', and '.join(parts)}."


def _is_sure(row: dict[str, Any]) -> bool:
    return row["cost_low"] > 0 or row["cost_high"] < 0


def _percentile(value: float) -> str:
    n = round(value)
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"the {n}{ending} percentile"
