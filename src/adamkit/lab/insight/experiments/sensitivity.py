"""η, β₁ and β₂ as maps over digits, and how wide the good range of η is."""

from typing import Any

import numpy as np
import pandas as pd

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.shown import Shown, number, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BETAS_1, BETAS_2 = (0.0, 0.5, 0.9, 0.97, 0.99), (0.5, 0.9, 0.99, 0.999, 0.9999)
TIMES = 1.5  # a loss up to so many times the smallest is good


def show(*, seed: int = 0, rates: int = 13, epochs: int = 6) -> Shown:
    """Digits and one hidden layer, by its loss on rows that it does not train on."""
    rows = tasks.digits(seed=seed)
    etas = np.geomspace(1e-5, 1, rates).tolist()
    first = [{"learning_rate": eta, "beta_1": b, "beta_2": 0.999} for eta in etas for b in BETAS_1]
    second = [{"learning_rate": eta, "beta_1": 0.9, "beta_2": b} for eta in etas for b in BETAS_2 if b != 0.999]
    result = lab.sweep(
        tasks.classifier(Adam(), seed=seed), rows.x, rows.y,
        space=first + second, epochs=epochs, batch_size=32, validation_data=(rows.test_x, rows.test_y), seed=seed,
    )  # fmt: skip
    table: Any = result.summary.rename(columns={"mean": "loss"})
    by_rate = table[(table.beta_1 == 0.9) & (table.beta_2 == 0.999)].set_index("learning_rate").loss
    figures = table_of(
        [
            {"hyperparameter": name, "value": value, "best loss": one.loss.min(), "best η": _best(one)}
            | {"decades of η that are good": width(one.set_index("learning_rate").loss)}
            for name, fixed, at in (("beta_1", "beta_2", 0.999), ("beta_2", "beta_1", 0.9))
            for value, one in table[table[fixed] == at].groupby(name)
        ]
    )
    maps: list[Any] = [
        one.assign(case=name, value=one[name].map("{:g}".format))
        for name, fixed, at in (("beta_1", "beta_2", 0.999), ("beta_2", "beta_1", 0.9))
        for one in [table[table[fixed] == at]]
    ]
    chart = pictures.heat_maps(
        stacked(maps).rename(columns={"learning_rate": "η", "value": "β", "loss": "held-out loss"}),
        "η", "β", "held-out loss", "case", log=True, title=f"Held-out loss on digits after {epochs} epochs",
        notes=["Left: over η and beta_1 at beta_2 = 0.999. Right: over η and beta_2 at beta_1 = 0.9. Framed: the best"],
    )  # fmt: skip
    least, good = by_rate.min(), width(by_rate)
    at_default = by_rate[_nearest(by_rate.index, 0.001)]
    betas = {name: one["best loss"].max() / one["best loss"].min() for name, one in figures.groupby("hyperparameter")}
    paragraph = (
        f"The learning rate is what matters: at the default β the loss runs from {number(least)} to "
        f"{number(by_rate[np.isfinite(by_rate)].max())} over five decades of η. It is within {TIMES:g} times the "
        f"smallest over {number(good)} decades. The default η = 0.001 gives {number(at_default)}, "
        f"{number(at_default / least)} times the smallest after these {epochs} epochs, which is at η = "
        f"{number(by_rate.idxmin())}: "
        + whether(at_default <= TIMES * least, "here it needs no tuning. ", "the default does not spare the tuning. ")
        + f"With η tuned to each, β₁ from 0 to 0.99 changes the loss by a factor of {number(betas['beta_1'])}, and β₂ "
        f"from 0.5 to 0.9999 by {number(betas['beta_2'])}."
    )
    return Shown(paragraph, figures, {"sensitivity": chart})


def width(losses: Any) -> float:
    """Decades of η, around the best, with a loss of at most `TIMES` the smallest; a grid point counts its spacing."""
    good = (losses <= TIMES * losses.min()).to_numpy()
    positions = np.log10(losses.index.to_numpy())
    return float(np.count_nonzero(good) * (positions[1] - positions[0]))


def _best(table: Any) -> float:
    return table.loc[table.loss.idxmin(), "learning_rate"]


def _nearest(values: pd.Index, value: float) -> float:
    return values[np.argmin(np.abs(np.log(values / value)))]
