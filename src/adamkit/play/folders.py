"""A run folder as the beginning of a page: its model, its data, its setting, and what a sweep or comparison trained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab.comparing.optimizers import named
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.errors import InputError
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.runs import Settings, check_code, sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.play import choices
from adamkit.play import subject as subjects
from adamkit.play.archive import Run
from adamkit.play.choices import ADAM, Choice
from adamkit.play.subject import Subject


def of_run(path: str | Path, changes: Mapping[str, Any], *, trust_code: bool = False) -> tuple[Subject, list[Run]]:
    """What a training run, a sweep or a comparison was of, and the runs of the last two.

    Args:
        path: Its folder.
        changes: Settings that are to be other than the run's.
        trust_code: Whether code that the run names is run, though it is new here or has changed since.

    Raises:
        InputError: There is no run, it is damaged, or it names such code.
    """
    folder = RunFolder.open(path)
    record = folder.read_record()
    if "sweep" in record and isinstance(record.get("best"), dict):
        settings = sweeps.best_settings(folder, trust_code=trust_code, **changes)
    else:
        settings = Settings.of(record)
        if not trust_code:
            check_code(settings, folder, changes)
        settings = replace(settings, **changes)
    subject = subjects.of_settings(settings)
    if changes.keys() - subject.defaults[ADAM].setting.keys():  # other data or another model: other runs
        return subject, []
    try:
        if "sweep" in record:
            return subject, _of_sweep(folder, Settings.of(record), subject)
        if "comparison" in record:
            return subject, _of_comparison(folder, record["comparison"], subject)
    except InputError:  # it still runs, or was cut off: there is no history
        pass
    return subject, []


def _of_sweep(folder: RunFolder, settings: Settings, subject: Subject) -> list[Run]:
    """Those of the first seed, which start as the page's do."""
    plan = sweeps.plan_of(folder)
    if not (plan.same_start and plan.same_order):
        return []
    history = folder.read_history()
    begun = subject.defaults[ADAM]
    fixed = {name: getattr(settings, name) for name in begun.setting}
    found = []
    for number, rows in history.loc[history.seed == 0].groupby("setting"):
        choice = begun.with_values(fixed | plan.space[int(str(number))])
        found += _run(replace(choice, moment_dtype=settings.moment_dtype), rows, subject)
    return found


def _of_comparison(folder: RunFolder, plan: Mapping[str, Any], subject: Subject) -> list[Run]:
    """Those of its search, which start as the page's do, with the optimizers that the page has.

    A comparison that trained on fewer rows, or with wrong labels, has none.
    """
    if plan.get("train_size") is not None or plan.get("label_noise"):
        return []
    history = Comparison.load(folder.path).history
    found = []
    for (name, _), rows in history.loc[history.stage == "search"].groupby(["optimizer", "setting"]):
        known = named(str(name))
        own = ADAM if known.kind == "Adam" else known.name.partition("+")[0]
        first = rows.iloc[0].dropna()
        values = {each: first[each].item() for each in HYPERPARAMETERS if each in first}
        if own == ADAM:
            values |= known.fixed
        if own not in subject.defaults or values.keys() - subject.defaults[own].setting.keys():
            continue  # the page has no slider for it
        found += _run(choices.checked({"optimizer": own, "values": values}, subject.defaults), rows, subject)
    return found


def _run(choice: Choice, rows: pd.DataFrame, subject: Subject) -> list[Run]:
    """One, if it came to its end and shows what the page does."""
    if len(rows) != choice.epochs or not set(subject.columns) <= set(rows.columns):
        return []
    curve = rows.sort_values("epoch")[list(subject.columns)].to_numpy(np.float32)
    return [Run(choice, curve, alone=False)]
