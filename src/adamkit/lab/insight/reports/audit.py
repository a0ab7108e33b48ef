"""The report of an audit of optimizers that nobody tunes."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from adamkit.lab.comparing.audited import Audit
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.charts import audit as charts
from adamkit.lab.insight.reports import made
from adamkit.lab.insight.reports.page import Page, Section

_FAIR = (
    "All runs had the same starts, the same order of the data and the same number of epochs. What is reported was "
    "measured on a test part that chose nothing; the tuned setting was chosen on the validation part, for each seed."
)


def page(audit: Audit, record: Mapping[str, Any] | None = None) -> Page:
    """The report of an audit.

    Args:
        audit: Its grid is done.
        record: What `run.json` says; None for an audit of a model that is no name.
    """
    about, record = audit.described, record or {}
    facts = {
        "settings of adam": str(about["budget"]),
        "epochs": str(about["epochs"]),
        "seeds": str(about["seeds"]),
        "time": made.duration(about["seconds"]),
    }
    space = "; ".join(f"{name} {text}" for name, text in about["optimizers"]["grid"]["space"].items())
    sections = [
        Section("What it shows", audit.verdict[1:], charts.charts_of(audit), _figures(audit.summary)),
        Section("By seed", table=_figures(audit.by_seed), folded=True),
        Section("What made it fair", [_FAIR, f"The space of the settings: {space}."], folded=True),
    ]
    if record:
        sections += made.sections(record, record.get("command"))
    subject = f": {made.subject(record)}" if record else ""
    return Page(
        title=f"What not tuning costs{subject}",
        summary=audit.verdict[:1],
        facts=facts,
        sections=sections,
        warning=made.unfinished(record, "audit") if record else None,
    )


def _figures(table: Any) -> pd.DataFrame:
    """Without hyperparameters, and with four digits."""
    table = table[[name for name in table if name not in HYPERPARAMETERS]].copy()
    for name in table.columns.difference(["optimizer", "seed"]):
        digits = "{:.0f}" if name in ("percentile", "lowest", "highest") else "{:.4g}"
        table[name] = [float(digits.format(value)) for value in table[name]]
    return table.rename(columns=lambda name: name.replace("_", " "))
