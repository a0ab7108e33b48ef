"""Decay in the gradient and decoupled decay: two coordinates, and the maps of η and λ (Loshchilov and Hutter 2019)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, descend
from adamkit.lab.insight.experiments.shown import Shown, number, whether

KINDS = {"L2, in the gradient": False, "decoupled": True}


def show(*, seed: int = 0, points: int = 7, steps: int = 300, seeds: int = 4) -> Shown:
    """Held-out accuracy on digits with few rows and wrong labels, where decay is of use."""
    shrinks = {name: np.asarray(two_coordinates(decoupled, seed)) for name, decoupled in KINDS.items()}
    rows = tasks.digits(200, test_rows=1000, label_noise=0.2, seed=seed)
    etas = np.geomspace(10**-3.5, 10**-0.5, points)
    # The paper's λ of decoupled decay is what a step shrinks by, which is η·λ here.
    decays = {"L2, in the gradient": np.geomspace(1e-5, 1, points), "decoupled": np.geomspace(1e-6, 0.1, points)}
    tables = []
    for name, decoupled in KINDS.items():
        grid = np.array(list(itertools.product(etas, decays[name])))
        own = grid[:, 1] / grid[:, 0] if decoupled else grid[:, 1]
        fitted = tasks.fit(
            lambda eta_decay, d=decoupled: adam(eta_decay[0], weight_decay=eta_decay[1], decoupled=d),
            (jnp.array(grid[:, 0]), jnp.array(own)), rows,
            steps=steps, batch_size=32, seeds=seeds, hidden=32, seed=seed,
        )  # fmt: skip
        table = pd.DataFrame(grid, columns=["η", "decay"]).assign(decay_as=name)
        tables.append(table.assign(error=1 - fitted.test_accuracy.mean(axis=1), loss=fitted.test_loss.mean(axis=1)))
    table = pd.concat(tables, ignore_index=True)
    slopes = {name: slope(one) for name, one in table.groupby("decay_as", sort=False)}
    chart = pictures.heat_maps(
        table.rename(columns={"error": "share wrong"}), "η", "decay", "share wrong", "decay_as",
        title="Share of held-out digits that are wrong, over η and decay",
        notes=["Decay: λ for L2; for decoupled decay η·λ, what a step shrinks a weight by. Framed: the best"],
    )  # fmt: skip
    best = table.loc[table.groupby("decay_as", sort=False).error.idxmin()].set_index("decay_as")
    figures = best[["η", "decay", "error"]].rename(columns={"error": "share wrong"}).reset_index()
    figures["slope of the best decay over η, in decades"] = list(slopes.values())
    for place in (0, 1):
        figures[f"decay of a coordinate with gradients of {(1, 100)[place]}"] = [shrinks[n][place] for n in KINDS]
    (l2, decoupled) = (shrinks[name] for name in KINDS)
    names = list(KINDS)
    flat = abs(slopes[names[1]]) < abs(slopes[names[0]])
    paragraph = (
        f"Two coordinates with gradients of pure noise, of size 1 and 100, and a decay of the same λ: in the gradient "
        f"(L2) "
        f"it shrinks the second {number(l2[0] / l2[1])} times less than the first, for Adam divides it by the size of "
        f"the "
        f"gradients; decoupled, the two shrink alike ({number(decoupled[0] / decoupled[1])}). On digits with 200 rows "
        f"and "
        f"wrong labels, the best decay moves by {slopes[names[0]]:+.2f} decades for each decade of η with L2 and by "
        f"{slopes[names[1]]:+.2f} with decoupled decay, taken as in the paper as what a step shrinks by: "
        + whether(flat, "as in its Figure 2, the two can be tuned one after the other when decay is decoupled. ",
                  "unlike its Figure 2, decoupling does not separate the two here. ")
        + f"The best of each map gets {number(100 * best.error[names[0]])} % and {number(100 * best.error[names[1]])} "
        f"% of "
        f"the held-out rows wrong."
    )  # fmt: skip
    return Shown(paragraph, figures, {"weight-decay": chart})


def two_coordinates(decoupled: bool, seed: int, runs: int = 2000, steps: int = 400) -> jax.Array:
    """How fast the mean of many runs shrinks a step, for gradients of noise of size 1 and 100; η = 0.001, λ = 0.1."""
    noises = np.random.default_rng(seed).normal(size=(steps, runs, 2)) * [1.0, 100.0]
    optimizer = adam(0.001, weight_decay=0.1, decoupled=decoupled)
    start = jnp.ones((runs, 2)) * 10.0
    end = jax.jit(lambda noises: descend(optimizer, lambda _, noise: noise, start, noises, keep=False)[0])(noises)
    return -jnp.log(end.mean(axis=0) / 10.0) / steps


def slope(table: pd.DataFrame) -> float:
    """Decades that the good decay moves by for each decade of η.

    The good decay at an η is the mean of log λ, weighted by how good each is; only those η count at which decay is of
    use (the best is better than the least decay by a tenth).
    """
    places = []
    for eta, one in table.groupby("η"):
        scores = one.loss.to_numpy()
        if not np.isfinite(scores).any():
            continue
        good = scores <= 1.05 * np.nanmin(scores)
        if scores[0] > 1.1 * np.nanmin(scores):
            places.append((np.log10(eta), np.log10(one.decay.to_numpy()[good]).mean()))
    return float(np.polyfit(*zip(*places, strict=True), 1)[0]) if len(places) > 2 else np.nan
