"""What the runs so far say of each hyperparameter, in the words of a sweep."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab.insight.sensitivity import sensitivity
from adamkit.lab.sweeping.tables import signed
from adamkit.play.archive import Run
from adamkit.play.choices import Choice
from adamkit.play.neighbourhood import numbers


def words(runs: Sequence[Run], choice: Choice, columns: Sequence[str], objective: str) -> dict[str, Any]:
    """Sentences on the runs that differ from a choice in numbers alone: where each is good, and what diverges.

    How much each explains is left to a sweep's report: to compute that takes longer than to look at the page.

    Returns:
        `settings`: how many runs they are of; `lines`: the sentences.

    Raises:
        InputError: They are too few.
    """
    alike = [run for run in runs if run.choice.program == choice.program and run.choice.epochs == choice.epochs]
    table = summary(alike, choice, columns, objective)
    names = [name for name in numbers(choice) if len({run.choice.setting[name] for run in alike}) > 1]
    lines = sensitivity(table, names, objective, importance=False).describe() if names else []
    return {"settings": len(alike), "lines": lines}


def summary(runs: Sequence[Run], choice: Choice, columns: Sequence[str], objective: str) -> pd.DataFrame:
    """One row a run, as `adamkit.lab.SweepResult.summary` has them."""
    place = list(columns).index(objective)
    last = np.array([run.curve[-1, place] for run in runs], np.float64)
    finite = np.isfinite(last)
    table = pd.DataFrame([run.choice.setting for run in runs], columns=list(choice.setting))
    table.insert(0, "setting", range(len(runs)))
    table["mean"] = np.where(finite, signed(objective)[0] * last, np.inf)
    table["std"] = 0.0
    table["diverged"] = (~finite).astype(float)
    table["epochs"] = [len(run.curve) for run in runs]
    return table
