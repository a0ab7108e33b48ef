"""How far SGD's best loss is behind Adam's, by the size of the batch."""

import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of

OPTIMIZERS = {
    "Adam": (adam, (3e-4, 0.1)),
    "SGD with momentum": (lambda rate: of_optax(optax.sgd(rate, 0.9)), (3e-3, 1.0)),
}


def show(
    *, seed: int = 0, batch_sizes: tuple[int, ...] = (1, 8, 64, 512), rows: int = 512, steps: int = 80,
    rates: int = 7, seeds: int = 4,
) -> Shown:  # fmt: skip
    """Digits, so many steps for every batch size; the largest is all rows, without noise."""
    data = tasks.digits(rows, seed=seed)
    found = {}
    for name, (optimizer, ends) in OPTIMIZERS.items():
        etas = jnp.geomspace(ends[0], ends[1], rates)
        for size in batch_sizes:
            fitted = tasks.fit(optimizer, etas, data, steps=steps, batch_size=size, seeds=seeds, hidden=16, seed=seed)
            means = np.where(np.isfinite(fitted.loss).all(axis=1), fitted.loss.mean(axis=1), np.inf)
            found[name, size] = fitted.loss[np.argmin(means)]
    figures = table_of(
        [
            {"batch size": size, "Adam": found["Adam", size].mean(), "SGD": found["SGD with momentum", size].mean()}
            | _gap(found["SGD with momentum", size] - found["Adam", size])
            for size in batch_sizes
        ]
    )
    points = table_of(
        [
            {"batch size": size, "loss": loss.mean(), "lowest": loss.min(), "highest": loss.max(), "optimizer": name}
            for (name, size), loss in found.items()
        ]
    )
    chart = pictures.lines(
        points, "batch size", "loss", "optimizer", log="xy", low="lowest", high="highest",
        title=f"Loss on digits after {steps} steps, by batch size",
        notes=[f"Each with its best η; mean and range of {seeds} starts. A batch of {rows}: all rows, without noise"],
    )  # fmt: skip
    ratio = (figures.SGD / figures.Adam).to_numpy()
    noisy, full = figures.iloc[0], figures.iloc[-1]
    sure = [int(row["batch size"]) for _, row in figures.iterrows() if row["gap"] > row["±"]]
    paragraph = (
        f"At a batch of {int(noisy['batch size'])}, the noisiest, SGD with momentum reaches {number(noisy.SGD)} and "
        f"Adam {number(noisy.Adam)}; with all rows in each step, without noise, {number(full.SGD)} and "
        f"{number(full.Adam)}: SGD's loss is {number(ratio[0])} and {number(ratio[-1])} times Adam's. "
    )
    if not sure:
        paragraph += (
            "Adam's advantage is beyond luck at none of the batch sizes: tuned alike, the two are equal on this easy "
            "task, with noise and without it, and noise has nothing to explain. `rare-classes` has an advantage "
            "without noise."
        )
    else:
        paragraph += f"Adam's advantage is beyond luck at a batch of {', '.join(map(str, sure))}. " + whether(
            batch_sizes[-1] in sure,
            "It is there without noise, so noise is not what it comes from, as Kunstner et al. 2023 found.",
            "It is not there without noise, unlike what Kunstner et al. 2023 found on larger tasks.",
        )
    return Shown(paragraph, figures, {"noise": chart})


def _gap(differences: np.ndarray) -> dict[str, float]:
    return {"gap": differences.mean(), "±": 2 * differences.std(ddof=1) / np.sqrt(len(differences))}
