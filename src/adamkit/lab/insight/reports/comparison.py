"""The report of a comparison of optimizers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from adamkit.lab.comparing.audited import Audit
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.charts import comparison as charts
from adamkit.lab.insight.reports import audit, made
from adamkit.lab.insight.reports.page import Page, Section

if TYPE_CHECKING:
    from adamkit.lab.runs.folder import RunFolder

_FAIR = (
    "Every optimizer had the same number of settings, drawn from a space of its own, the same starts, the same order "
    "of the data and the same number of epochs. Settings were chosen on the validation part; what is reported was "
    "measured on a test part that chose nothing."
)


def page_of(folder: "RunFolder", record: Mapping[str, Any]) -> Page:
    """The report of the comparison, or audit, in a folder.

    Raises:
        InputError: It has not ended, or is damaged.
    """
    if record["comparison"].get("audit"):
        return audit.page(Audit.load(folder.path), record)
    return page(Comparison.load(folder.path), record)


def page(comparison: Comparison, record: Mapping[str, Any] | None = None) -> Page:
    """The report of a comparison.

    Args:
        comparison: At least one optimizer is done.
        record: What `run.json` says; None for a comparison of a model that is no name.
    """
    about, record = comparison.described, record or {}
    drawn = charts.charts_of(comparison)
    facts = {
        "optimizers": str(len(comparison.optimizers)),
        "settings each": str(about["budget"]),
        "epochs": str(about["epochs"]),
        "seeds": str(about["seeds"]),
        "time": made.duration(about["seconds"]),
    }
    sections = [
        Section("What it shows", comparison.verdict[1:], table=_figures(comparison)),
        Section("Tuned more or less", charts={name: drawn[name] for name in ("budget", "chances") if name in drawn}),
        Section(
            "Learning rates and epochs",
            charts={name: drawn[name] for name in ("learning_rates", "curves") if name in drawn},
        ),
        Section("Generalization", charts={name: drawn[name] for name in ("gap",) if name in drawn}),
        Section("The best settings", table=_settings(comparison)),
        Section("What made it fair", [_FAIR], table=_spaces(comparison), folded=True),
    ]
    if record:
        sections += made.sections(record, record.get("command"))
    subject = f": {made.subject(record)}" if record else ""
    return Page(
        title=f"Comparison of {len(comparison.optimizers)} optimizers{subject}",
        summary=comparison.verdict[:1],
        facts=facts,
        sections=sections,
        warning=made.unfinished(record, "comparison") if record else None,
    )


def _figures(comparison: Comparison) -> pd.DataFrame:
    summary, metric = comparison.summary, comparison.metric
    others = [name for name in summary if name.startswith("test_") and name != f"test_{metric}"]
    columns = [f"test_{metric}", "low", "high", *others, "loss", "gap", "epochs_to_goal", "decades", "diverged"]
    table: Any = summary[["optimizer", *columns]].copy()
    table["decades"] = [f"{value:.1f}" if np.isfinite(value) else "" for value in table["decades"]]
    table["epochs_to_goal"] = [f"{value:g}" if np.isfinite(value) else "–" for value in table["epochs_to_goal"]]
    table["diverged"] = [f"{value:.0%}" for value in table["diverged"]]
    for name in columns[: -len(_OTHER_UNITS)]:
        table[name] = [float(f"{value:.4g}") for value in table[name]]  # numbers, which no narrow page breaks
    return table.rename(columns=lambda name: _TITLES.get(name, name.replace("_", " ")))


_OTHER_UNITS = ("epochs_to_goal", "decades", "diverged")  # the last columns
_TITLES = {"loss": "training loss", "decades": "good decades", "low": "from", "high": "to"}


def _settings(comparison: Comparison) -> pd.DataFrame:
    summary = comparison.summary
    names = [name for name in HYPERPARAMETERS if name in summary]
    shown = {name: [_value(value) for value in summary[name]] for name in names}
    return pd.DataFrame({"optimizer": summary.optimizer} | shown)


def _value(value: Any) -> str:
    if value is None or value != value:
        return ""
    return str(value).lower() if isinstance(value, bool) else f"{value:.4g}"


def _spaces(comparison: Comparison) -> pd.DataFrame:
    rows = [
        (name, "; ".join(f"{key} {text}" for key, text in one["space"].items()), f"{one['widened']} ×", one["why"])
        for name, one in comparison.described["optimizers"].items()
    ]
    return pd.DataFrame(rows, columns=["optimizer", "space", "widened", "why"])
