"""The report of a learning-rate range test."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adamkit.lab.errors import InputError
from adamkit.lab.insight.charts.learning_rate_range import loss_by_learning_rate
from adamkit.lab.insight.reports import made
from adamkit.lab.insight.reports.page import Page, Section

if TYPE_CHECKING:
    from adamkit.lab.runs.folder import RunFolder


def page_of(folder: "RunFolder", record: Mapping[str, Any]) -> Page:
    """The report of the range test in a folder; InputError where it is damaged."""
    from adamkit.lab.runs import Settings

    found = record["range"]
    if not isinstance(found, dict) or not {"low", "high", "steps", "suggested", "smallest", "steepest"} <= found.keys():
        raise InputError(f"{folder.path} must be the folder of a range test, and its run.json has none")
    history = folder.read_history()
    asked = made.changed(Settings.of(dict(record)))
    command = made.command("range", {"from": found["low"], "to": found["high"], "steps": found["steps"]} | asked)
    sentences, facts, charts = [], {}, {}
    if found["suggested"] is not None:
        facts["try"] = f"{found['suggested']:.2g}"
        sentences.append("A learning rate to start from is a tenth of the one at which the loss is smallest.")
    else:
        sentences.append("The loss falls by no more than its noise, so no rate is suggested; try more steps.")
    if found["smallest"] is not None:
        facts |= {"smallest loss at": f"{found['smallest']:.2g}", "falls fastest at": f"{found['steepest']:.2g}"}
        chart = loss_by_learning_rate(history, found["suggested"], found["smallest"])
        charts = {"learning_rate_range": chart}
    if len(history) < found["steps"]:
        sentences.append(f"The loss diverged after {len(history):,} of {found['steps']:,} steps.")
    return Page(
        title=f"Learning-rate range test: {made.subject(record)}",
        summary=sentences,
        facts=facts,
        sections=[Section("The loss while the learning rate rises", charts=charts), *made.sections(record, command)],
        warning=made.unfinished(record, "range test"),
    )
