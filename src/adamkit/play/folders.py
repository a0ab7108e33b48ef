"""A run folder as the beginning of a page: its model, its data, its setting, and of a sweep all that was trained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adamkit.lab.errors import InputError
from adamkit.lab.runs import Settings, check_code, sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.play import subject as subjects
from adamkit.play.archive import Run
from adamkit.play.choices import ADAM, Choice
from adamkit.play.subject import Subject


def of_run(path: str | Path, changes: Mapping[str, Any], *, trust_code: bool = False) -> tuple[Subject, list[Run]]:
    """What a training run, a sweep or a comparison was of, and the runs of a sweep.

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
    if "sweep" not in record:
        return subject, []
    trained = {"learning_rate", *subject.defaults[ADAM].setting}
    if changes.keys() - trained:  # other data or another model: other runs
        return subject, []
    return subject, _runs(folder, Settings.of(record), subject)


def _runs(folder: RunFolder, settings: Settings, subject: Subject) -> list[Run]:
    """Those of the first seed, which start as the page's do, and that came to their end."""
    plan = sweeps.plan_of(folder)
    if not (plan.same_start and plan.same_order):
        return []
    try:
        history = folder.read_history()
    except InputError:  # it still runs, or was cut off
        return []
    if not set(subject.columns) <= set(history.columns):
        return []
    begun = subject.defaults[ADAM]
    found = []
    for number, rows in history.loc[history.seed == 0].groupby("setting"):
        values = {name: getattr(settings, name) for name in begun.setting} | plan.space[int(str(number))]
        choice = Choice(ADAM, settings.moment_dtype, begun.epochs, begun.rows, tuple((begun.setting | values).items()))
        curve = rows.sort_values("epoch")[list(subject.columns)].to_numpy(np.float32)
        if len(curve) == begun.epochs:
            found.append(Run(choice, curve, alone=False))
    return found
