"""The report of the sweep in a folder.

Apart from `sweep`, which makes the page of a sweep's history: that is what a sweep itself calls, and this needs a run.
"""

from collections.abc import Mapping
from typing import Any

from adamkit.lab.disk import HISTORY
from adamkit.lab.errors import InputError
from adamkit.lab.insight.reports.page import Page
from adamkit.lab.insight.reports.sweep import page
from adamkit.lab.runs import sweeps
from adamkit.lab.runs.folder import DONE, RunFolder
from adamkit.lab.sweeping.tables import finished_so_far


def page_of(folder: RunFolder, record: Mapping[str, Any]) -> Page:
    """The report of the sweep in a folder: of what is finished, where it still runs or was cut off.

    Raises:
        InputError: It is no sweep, is damaged, or nothing of it is finished.
    """
    plan = sweeps.plan_of(folder)
    has_ended = (folder.path / HISTORY).exists() and record.get("status") in DONE
    history = folder.read_history() if has_ended else finished_so_far(folder.path, plan.space)
    if history is None or not len(history):
        raise InputError(f"{folder.path} must be a sweep with a finished setting, and has none")
    validated = bool(record.get("data", {}).get("validation_rows"))
    objective = plan.objective or ("val_loss" if validated else "loss")
    names = [name for name in plan.space[0] if name in history]
    return page(
        history, names, objective, settings=len(plan.space), seeds=plan.seeds, halving=plan.halving is not None,
        record=record,
    )  # fmt: skip
