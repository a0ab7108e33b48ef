"""What a comparison gave: its tables and what follows from them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab import disk
from adamkit.lab.comparing import statistics, words
from adamkit.lab.comparing.checks import Check
from adamkit.lab.errors import InputError, reason
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.budget import budgets, expected_best

RUNS, COMPARISON = "runs.parquet", "comparison.json"
RESAMPLES = 1000
NEAR = 0.1  # a good learning rate covers all but a tenth of the way from the start to the best of all
Table = Any  # a pandas.DataFrame, whose columns no type checker follows


@dataclass
class Trained:
    """The runs of optimizers, and how they were made: what a comparison and an audit are."""

    history: Table
    runs: Table
    described: dict[str, Any]

    @property
    def metric(self) -> str:
        """What the objective is of: `"loss"` where settings were chosen by `val_loss`."""
        return self.described["objective"].removeprefix("-").removeprefix("val_")

    @property
    def is_large_good(self) -> bool:
        """Whether the objective is to be large."""
        return self.described["objective"].startswith("-")


@dataclass
class Comparison(Trained):
    """What a comparison gave.

    Attributes:
        history: One row a run and epoch: `optimizer`, `stage` (`"search"` or `"repeat"`), `setting`, `seed` (0 in the
            search), the hyperparameters (NaN where an optimizer has none of the name), `epoch`, `loss` and each metric
            over the epoch's batches, and the same on the validation part with `val_` before the name.
        runs: One row a run: the same, at its end, and with `test_` before the name what it reaches on the test part.
        described: How it was made: `objective`, `budget`, `seeds`, `epochs`, `batch_size`, `seed`, `goal`, `rows` (to
            train, validate and test on), `start` (what the untrained model reaches), `optimizers` (by name: `space`,
            `why`, `widened`, `ends`, `seconds_an_epoch` …), `failures`, `checks`, `seconds` and `interrupted`.
    """

    @classmethod
    def of(cls, found: Sequence[Any], described: dict[str, Any]) -> "Comparison":
        """From what `tuning.Tuning` found of each optimizer."""
        history, runs = tables_of(found)
        optimizers = {one.given.name: about(one) for one in found}
        checks = [asdict(check) for check in described["checks"]]
        return cls(history, runs, described | {"optimizers": optimizers, "checks": checks})

    @classmethod
    def load(cls, folder: str | Path) -> "Comparison":
        """The comparison in a folder, also one that was interrupted.

        Raises:
            InputError: The folder holds none that is finished or was interrupted, or a damaged one.
        """
        return cls(*read(Path(folder), COMPARISON, ("optimizers", "start", "checks", "objective"), "a comparison"))

    def save(self, folder: str | Path) -> None:
        """Write `comparison.json`, `history.parquet` and `runs.parquet`, which `load` reads, and tables as `.csv`."""
        tables = {disk.SUMMARY: self.summary, "expected_best.csv": self.expected_best, "chances.csv": self.chances}
        write(Path(folder), self.history, self.runs, tables, COMPARISON, self.described)

    @property
    def optimizers(self) -> list[str]:
        """Those that were repeated with all seeds, in the order that they were given in."""
        return [name for name in self.described["optimizers"] if name in self._ranked]

    @cached_property
    def summary(self) -> Table:
        """One row an optimizer, the best first.

        Columns: `optimizer`; its best setting (the hyperparameters); `val_…` and `test_…` of the objective and each
        metric, means over seeds; `low` and `high`, the band of the objective on the test part (95 %: other seeds,
        another draw of settings); `loss`, the training loss; `gap`, the test loss less the training loss;
        `at_equal_loss`, the validation loss where the training loss was first as small as every optimizer's becomes;
        `epochs_to_goal` and `seconds_to_goal`, the median over seeds, infinite where fewer than half reach it;
        `seconds_an_epoch` of one run; `decades` that good learning rates span; `diverged`, the share of the settings
        whose training loss ended above the untrained model's; `widened`, how often the space was.
        """
        rows = [self._row(name) for name in self.optimizers]
        sign = -1.0 if self.is_large_good else 1.0
        rows.sort(key=lambda row: sign * row[f"test_{self.metric}"])
        return ordered(pd.DataFrame(rows)) if rows else pd.DataFrame({"optimizer": []})

    @cached_property
    def expected_best(self) -> Table:
        """What the best of `budget` settings, chosen on the validation part, is expected to reach on the test part.

        Columns: `optimizer`, `budget` (1, 2, 4, … settings), `metric`, `value`, and for the objective's metric `low`
        and `high` (95 %; NaN for the others). A run that diverged counts as the worst of the best settings' runs does,
        or as the untrained model where that is worse.
        """
        tables = []
        for name, ranked in self._ranked.items():
            ks = budgets(len(ranked.values))
            low, high = statistics.band(
                statistics.resampled_best(ranked.values, ranked.chosen_on, ranked.repeated, ks, RESAMPLES, 0)
            )
            if self.is_large_good:
                low, high = -high, -low
            for metric, values in ranked.metrics.items():
                own = metric == self.metric
                found = expected_best(values.mean(axis=1), ks)
                bands = {"low": low, "high": high} if own else {"low": math.nan, "high": math.nan}
                tables.append(pd.DataFrame({"optimizer": name, "budget": ks, "metric": metric, "value": found} | bands))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    @cached_property
    def chances(self) -> Table:
        """`chance`: how likely `optimizer` beats `other` on the test part, both tuned with `budget` settings."""
        rows = [
            (name, other, k, statistics.chance_of_winning(ours.values, theirs.values, k))
            for name, ours in self._ranked.items()
            for other, theirs in self._ranked.items()
            for k in budgets(min(len(ours.values), len(theirs.values)))
            if name != other
        ]
        return pd.DataFrame(rows, columns=["optimizer", "other", "budget", "chance"])

    @cached_property
    def goal(self) -> float:
        """The value of the objective that epochs and seconds are counted to."""
        if self.described["goal"] is not None:
            return float(self.described["goal"])
        ends = [curves[:, -1].mean() for curves in self._curves.values()]
        return float(np.median(ends)) if ends else math.nan

    @cached_property
    def equal_loss(self) -> float:
        """The smallest training loss that every optimizer's best setting falls to."""
        smallest = [self.best_runs(name).groupby("epoch").loss.mean().min() for name in self.optimizers]
        return float(max(smallest)) if smallest else math.nan

    @cached_property
    def verdict(self) -> list[str]:
        """What this says, in sentences."""
        return words.verdict(self)

    def _repr_html_(self) -> str:
        """In a notebook: the first sentence, what each optimizer reaches, and the expected best over the budget."""
        from adamkit.lab.insight.charts import comparison as charts
        from adamkit.lab.insight.reports import notebook

        heading = self.verdict[0] if self.optimizers else "No optimizer is finished"
        columns = ["optimizer", f"test_{self.metric}", "low", "high", "gap", "decades", "diverged"]
        table = self.summary[[name for name in columns if name in self.summary]]
        return notebook.html(heading, table, charts.charts_of(self).get("budget"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from adamkit.lab.insight.reports import notebook

        return notebook.bundle(self)

    @property
    def checks(self) -> list[Check]:
        """What `check` found."""
        return [Check(**check) for check in self.described["checks"]]

    def best_setting(self, optimizer: str) -> int:
        """The place in the search of the setting that was chosen for an optimizer."""
        return self._ranked[optimizer].best

    def best_runs(self, optimizer: str) -> Table:
        """The history of an optimizer's best setting, with all seeds."""
        history: Table = self.history
        own = (history.optimizer == optimizer) & (history.stage == "repeat")
        return history.loc[own & (history.setting == self.best_setting(optimizer))]

    def worst(self, column: str) -> float:
        """What a diverged run counts as: the worst of the repeated runs, or the untrained model. Small is good."""
        sign = -1.0 if self.is_large_good else 1.0
        repeated = sign * self.runs.loc[self.runs.stage == "repeat", column].to_numpy()
        return max(sign * self.described["start"][column], repeated[np.isfinite(repeated)].max(initial=-math.inf))

    @cached_property
    def _ranked(self) -> "dict[str, _Ranked]":
        found = {}
        for name in self.described["optimizers"]:
            runs = self.runs.loc[self.runs.optimizer == name]
            if (runs.stage == "repeat").any():
                found[name] = _Ranked(runs, self)
        return found

    @cached_property
    def _curves(self) -> dict[str, np.ndarray]:
        """(seeds, epochs) the objective of each optimizer's best setting."""
        column = f"val_{self.metric}"
        return {
            name: self.best_runs(name).pivot(index="seed", columns="epoch", values=column).to_numpy()
            for name in self.optimizers
        }

    def _row(self, name: str) -> dict[str, Any]:
        ranked, about = self._ranked[name], self.described["optimizers"][name]
        setting = about["settings"][ranked.best]
        runs: Table = self.runs.loc[(self.runs.optimizer == name) & (self.runs.stage == "repeat")]
        runs = runs.loc[runs.setting == ranked.best]
        measured = [column for column in runs if str(column).startswith(("val_", "test_"))]
        last = self.expected_best.loc[
            (self.expected_best.optimizer == name) & (self.expected_best.metric == self.metric)
        ].iloc[-1]
        means = self.best_runs(name).groupby("epoch")[["loss", "val_loss"]].mean()
        # At the start, before an epoch has a training loss, it is that of data which were not trained on.
        curves = np.vstack([[self.described["start"]["val_loss"]] * 2, means.to_numpy()])
        sign = -1.0 if self.is_large_good else 1.0
        epochs = float(np.median(statistics.first_epoch_at(sign * self._curves[name], sign * self.goal)))
        search: Table = self.runs.loc[(self.runs.optimizer == name) & (self.runs.stage == "search")]
        values = sign * search[f"val_{self.metric}"].to_numpy()
        start = sign * self.described["start"][f"val_{self.metric}"]
        best = min(one.chosen_on.min() for one in self._ranked.values())
        rates = np.array([about["settings"][i].get("learning_rate", np.nan) for i in search.setting])  # nan: found
        return (
            {"optimizer": name}
            | {known: setting[known] for known in setting if known in HYPERPARAMETERS}
            | {column: float(runs[column].mean()) for column in measured}
            | {
                "low": float(last.low),
                "high": float(last.high),
                "loss": float(runs.loss.mean()),
                "gap": float(runs.test_loss.mean() - runs.loss.mean()),
                "at_equal_loss": statistics.at_training_loss(curves[:, 0], curves[:, 1], self.equal_loss),
                "epochs_to_goal": epochs,
                "seconds_to_goal": epochs * about["seconds_an_epoch"],
                "seconds_an_epoch": about["seconds_an_epoch"],
                "decades": statistics.good_decades(rates, values, best + NEAR * max(start - best, 0.0)),
                "diverged": float(np.mean(~(search.loss.to_numpy() < self.described["start"]["val_loss"]))),
                "widened": about["widened"],
            }
        )


class _Ranked:
    """The settings of one optimizer, the best on the validation part first; those that were repeated before others.

    Attributes:
        best: The place in the search of the first.
        repeated: How many were.
        values: (n, seeds) what is to be small on the test part, no worse than `Comparison.worst`.
        chosen_on: (n, seeds) likewise on the validation part.
        metrics: By name, (n, seeds) on the test part as they are.
    """

    def __init__(self, runs: Table, comparison: Comparison):
        sign = -1.0 if comparison.is_large_good else 1.0
        start, metric = comparison.described["start"], comparison.metric
        repeats, search = runs.loc[runs.stage == "repeat"], runs.loc[runs.stage == "search"]
        seeds = repeats.seed.nunique()

        def capped(name: str, table: Table) -> Any:
            limit = comparison.worst(name)
            return np.minimum(np.nan_to_num(sign * table[name], nan=limit, posinf=limit), limit)

        def by_setting(values: Any, table: Table) -> Any:
            return pd.Series(values, index=[table.setting, table.seed]).unstack()

        validated = by_setting(capped(f"val_{metric}", repeats), repeats)
        first = validated.mean(axis=1).sort_values(kind="stable").index.tolist()
        once = pd.Series(capped(f"val_{metric}", search), index=search.setting).drop(first).sort_values(kind="stable")
        self.best, self.repeated = int(first[0]), len(first)

        def both(of: Any) -> np.ndarray:
            again = by_setting(of(repeats), repeats).loc[first].to_numpy()
            single = pd.Series(of(search), index=search.setting).loc[once.index].to_numpy()
            return np.concatenate([again, np.repeat(single[:, None], seeds, axis=1)])

        self.values = both(lambda table: capped(f"test_{metric}", table))
        self.chosen_on = both(lambda table: capped(f"val_{metric}", table))
        names = [str(column)[5:] for column in runs if str(column).startswith("test_")]
        self.metrics = {
            name: both(lambda table, name=name: np.nan_to_num(table[f"test_{name}"], nan=start[f"test_{name}"]))
            for name in names
        }
        self.metrics[metric] = sign * self.values


def tables_of(found: Sequence[Any]) -> tuple[Table, Table]:
    """The histories and the runs of what `tuning.Tuning` found, with the optimizers' names."""
    history, runs = (
        pd.concat([getattr(one, name).assign(optimizer=one.given.name) for one in found], ignore_index=True)
        if found
        else pd.DataFrame()
        for name in ("history", "runs")
    )
    return ordered(history), ordered(runs)


def about(one: Any) -> dict[str, Any]:
    """What is written down of an optimizer, from what was found of it."""
    return {
        "kind": one.used.kind,
        "fixed": dict(one.used.fixed),
        "cosine": one.used.cosine,
        "space": one.used.space_in_words(),
        "given_space": one.given.space_in_words(),
        "why": one.used.why,
        "widened": one.times,
        "ends": one.ends,
        "seconds_an_epoch": one.seconds_an_epoch,
        "settings": one.settings,
    }


def read(folder: Path, name: str, needed: Iterable[str], what: str) -> tuple[Table, Table, dict[str, Any]]:
    """The history, the runs and the description that `write` left.

    Raises:
        InputError: There are none, or they are damaged or without something that is needed.
    """
    try:
        described = json.loads((folder / name).read_text(encoding="utf-8"))
        history, runs = (pd.read_parquet(folder / table) for table in (disk.HISTORY, RUNS))
        for key in needed:
            described[key]
    except Exception as error:  # pyarrow has errors of its own
        raise InputError(f"{folder} must be the folder of {what} that has ended: {reason(error)}") from error
    return history, runs, described


def write(
    folder: Path, history: Table, runs: Table, tables: Mapping[str, Table], name: str, described: Mapping[str, Any]
) -> None:
    """Write them, other tables as CSV, and the description last."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(described, indent=1)
    disk.replace(folder / disk.HISTORY, lambda path: history.to_parquet(path, index=False))
    disk.replace(folder / RUNS, lambda path: runs.to_parquet(path, index=False))
    for file, table in tables.items():
        disk.replace(folder / file, lambda path, table=table: table.to_csv(path, index=False))
    disk.replace(folder / name, lambda path: path.write_text(text, encoding="utf-8"))


def ordered(table: Table) -> Any:
    """The columns in an order that reads well: what a run is, its hyperparameters, what it reached."""
    first = [name for name in ("optimizer", "stage", "setting", "seed") if name in table]
    own = [name for name in HYPERPARAMETERS if name in table]
    rest = [name for name in table if name not in (*first, *own)]
    return table[[*first, *own, *rest]]
