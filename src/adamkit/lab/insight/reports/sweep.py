"""The report of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab.insight.charts import linked
from adamkit.lab.insight.charts import sweep as charts
from adamkit.lab.insight.reports import made
from adamkit.lab.insight.reports.page import Page, Section
from adamkit.lab.insight.sensitivity import Sensitivity, sensitivity, shown
from adamkit.lab.sweeping.tables import ranked, summarize

_BEST = 10  # settings in the table
_FEWEST_DRAWS = 8  # settings below which it says little what more of them bring


def page(
    history: pd.DataFrame,
    hyperparameters: Sequence[str],
    objective: str,
    *,
    settings: int,
    seeds: int = 1,
    halving: bool = False,
    seconds: float | None = None,
    interrupted: bool = False,
    record: Mapping[str, Any] | None = None,
) -> Page:
    """The report of a sweep's history.

    Args:
        history: As `adamkit.lab.SweepResult.history`; at least one row.
        hyperparameters: The columns that were swept.
        objective: What is to be small, or, with a minus, large.
        settings: How many were asked for.
        seeds: Runs of each.
        halving: Whether most were stopped early.
        seconds: How long it took; None: what `record` says.
        interrupted: Whether it was cut off; `record` says so too.
        record: What `run.json` says; None for a sweep of a model that is no name.
    """
    record = record or {}
    summary: Any = summarize(history, hyperparameters, objective)
    found = sensitivity(summary, hyperparameters, objective)
    metric, sign = objective.removeprefix("-"), -1 if objective.startswith("-") else 1
    done = len(history[["setting", "seed"]].drop_duplicates())
    to_rank = summary[summary["epochs"] == summary["epochs"].max()] if halving else summary
    best = ranked(to_rank[np.isfinite(to_rank["mean"])]).head(_BEST)
    facts = {f"best {metric}": f"{sign * best['mean'].iloc[0]:.4g}"} if len(best) else {}
    facts |= {
        "settings": f"{len(summary):,}" if len(summary) == settings else f"{len(summary):,} of {settings:,}",
        **({"seeds": str(seeds)} if seeds > 1 else {}),
        "epochs": str(np.max(history["epoch"])),
        "diverging": f"{found.diverged:,}",
    }
    seconds = seconds if seconds is not None else record.get("seconds")
    if isinstance(seconds, (int, float)):
        facts["time"] = made.duration(seconds)
    warning = made.unfinished(record, "sweep") if record else None
    if interrupted or (warning is not None and done < settings * seeds):
        warning = f"{warning or 'The sweep was cut off.'} {done:,} of {settings * seeds:,} runs are finished."
    on = f": {made.subject(record)}" if record else ""
    sections = [
        Section(
            "What it shows",
            [_sentence(words, [*hyperparameters, metric]) for words in found.describe()],
            table=_table_of_best(best, [effect.name for effect in found.effects] or hyperparameters, metric, sign),
        ),
        *_pictures(history, summary, found, same_length=not halving and summary["epochs"].nunique() == 1),
    ]
    if record:
        sections += made.sections(record, record.get("command"))
    return Page(
        title=f"Sweep of {settings:,} settings{on}",
        summary=[f"The best setting has {_in_words(best.iloc[0], hyperparameters)}."] if len(best) else [],
        facts=facts,
        sections=sections,
        warning=warning,
    )


def _pictures(history: pd.DataFrame, summary: Any, found: Sensitivity, same_length: bool) -> list[Section]:
    if found.diverged == found.settings:
        return []
    names = [effect.name for effect in found.effects]
    if not names:
        return [Section("Learning curves", charts=charts.charts_of(history, summary, found))]
    static = charts.charts_of(history, summary, found)
    each = {name: static[name] for name in names}
    rest = {name: static[name] for name in ("importance",) if name in static}
    if same_length and found.settings >= _FEWEST_DRAWS:
        rest["budget"] = charts.budget(summary, found)
    sections = [
        Section("Settings and their learning curves", charts={"explorer": linked.explorer(history, summary, found)})
    ]
    if len(names) > 1:
        sections.append(Section("All at once", charts={"parallel": linked.parallel_coordinates(summary, found)}))
    sections.append(Section("One by one", charts=each))
    sections.append(Section("The best over the epochs", charts={"learning_curves": static["learning_curves"]}))
    return [*sections, *([Section("What matters, and what more settings bring", charts=rest)] if rest else [])]


def _table_of_best(best: Any, names: Sequence[str], metric: str, sign: int) -> pd.DataFrame:
    columns: dict[str, Any] = {"setting": best["setting"]}
    columns |= {name: [shown(name, value) for value in best[name]] for name in names}
    columns[metric] = sign * best["mean"]
    if (best["std"] > 0).any():
        columns["spread"] = best["std"]
    return pd.DataFrame(columns)


def _sentence(words: str, names: Sequence[str]) -> str:
    """With a capital letter, unless it begins with a name."""
    first = words.split()[0]
    return f"{words if first in names else words[0].upper() + words[1:]}."


def _in_words(setting: Any, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {shown(name, setting[name])}" for name in names)
