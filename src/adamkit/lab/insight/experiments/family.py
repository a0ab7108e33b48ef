"""From gradient descent to Adam, a part at a time, each with its best learning rate on one task."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of

# Each a step further; of Adam's rule by its switches, but for AdaGrad, whose sum of squares is optax's.
FAMILY = {
    "gradient descent": (lambda rate: adam(rate, 0.0, adaptivity=False), 1.0),
    "+ momentum": (lambda rate: adam(rate, 0.9, adaptivity=False), 1.0),
    "AdaGrad": (lambda rate: of_optax(optax.adagrad(rate, 0.0, 1e-8)), 0.1),
    "RMSProp": (lambda rate: adam(rate, 0.0, bias_correction=False), 0.01),
    "RMSProp, corrected": (lambda rate: adam(rate, 0.0), 0.01),
    "Adam, uncorrected": (lambda rate: adam(rate, bias_correction=False), 0.01),
    "Adam": (adam, 0.01),
}


def show(*, seed: int = 0, rates: int = 9, steps: int = 120, seeds: int = 6) -> Shown:
    """Digits and one hidden layer; rates over four decades, placed where each lives."""
    rows = tasks.digits(seed=seed)
    grids = {name: middle * np.geomspace(1e-2, 1e2, rates) for name, (_, middle) in FAMILY.items()}
    options: Any = {"steps": steps, "batch_size": 64, "seeds": seeds, "seed": seed}
    fitted = tasks.at_once(
        {
            name: partial(tasks.fit, optimizer, jnp.array(grids[name]), rows, **options)
            for name, (optimizer, _) in FAMILY.items()
        }
    )
    points, found = [], {}
    for name, etas in grids.items():
        loss = fitted[name].loss
        means = np.where(np.isfinite(loss).all(axis=1), loss.mean(axis=1), np.inf)
        found[name] = etas[np.argmin(means)], loss[np.argmin(means)]
        points += [
            {"η / the best η": e / found[name][0], "loss": m, "optimizer": name}
            for e, m in zip(etas, means, strict=True)
        ]
    figures = table_of(
        [
            {"optimizer": name, "best η": eta, "loss": loss.mean(), "lowest": loss.min(), "highest": loss.max()}
            for name, (eta, loss) in found.items()
        ]
    )
    chart = pictures.lines(
        table_of(points), "η / the best η", "loss", "optimizer", log="xy", clip=10,
        title=f"Loss on digits after {steps} steps, around the best η of each",
        notes=[f"Each the mean of {seeds} starts; losses above 10 are drawn at 10"],
    )  # fmt: skip
    by = figures.set_index("optimizer").loss

    def change(before: str, after: str) -> str:
        gap = found[after][1] - found[before][1]
        words = f"from {number(by[before])} to {number(by[after])}"
        return words + whether(_is_sure(gap), "", " (no more than luck)")

    paragraph = (
        f"With the best η of each, after {steps} steps, momentum takes gradient descent "
        f"{change('gradient descent', '+ momentum')}. The division by the root of the squares takes it "
        f"{change('gradient descent', 'RMSProp, corrected')}; that is RMSProp with bias correction, and AdaGrad, with "
        f"their sum in place of their mean, reaches {number(by['AdaGrad'])}. Both together, Adam, reach "
        f"{number(by['Adam'])}. Bias correction takes RMSProp {change('RMSProp', 'RMSProp, corrected')} and Adam "
        f"{change('Adam, uncorrected', 'Adam')}. The best of the family on this task is {by.idxmin()}"
        + whether(
            by.idxmin() == "Adam",
            ".",
            f", not Adam: Adam is behind it by {number(by['Adam'] - by.min())}, "
            + whether(_is_sure(found["Adam"][1] - found[by.idxmin()][1]), "more than luck.", "no more than luck."),
        )
    )
    return Shown(paragraph, figures, {"family": chart})


def _is_sure(differences: np.ndarray) -> bool:
    """Whether paired differences are larger than other seeds might make them."""
    return abs(differences.mean()) > 2 * differences.std(ddof=1) / np.sqrt(len(differences))
