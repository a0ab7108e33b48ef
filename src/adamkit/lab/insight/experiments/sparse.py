"""Linear regression on features that occur as 1/rank: how many of the rare ones each optimizer has learnt."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, descend, of_optax
from adamkit.lab.insight.experiments.shown import Shown, percent, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BATCH, NEAR = 32, 0.5  # rows a step; a weight of size 1 is learnt when it is so near
OPTIMIZERS = {
    "SGD": (lambda rate: of_optax(optax.sgd(rate)), 0.1),
    "momentum": (lambda rate: of_optax(optax.sgd(rate, 0.9)), 0.01),
    "AdaGrad": (lambda rate: of_optax(optax.adagrad(rate, 0.0, 1e-8)), 0.3),
    "RMSProp": (lambda rate: adam(rate, 0.0), 0.03),
    "Adam": (adam, 0.03),
    "Adam, lazy": (lambda rate: adam(rate, lazy=True), 0.03),
}


def show(*, seed: int = 0, features: int = 1000, steps: int = 400, rates: int = 7) -> Shown:
    """Weights of ±1, little noise; the rate with the least expected loss of each."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, features + 1)
    truth = jnp.asarray(rng.choice([-1.0, 1.0], features), jnp.float32)
    rows = jnp.asarray(rng.random((steps, BATCH, features)) < frequency, jnp.uint8)
    noise = jnp.asarray(rng.normal(size=(steps, BATCH)) * 0.1, jnp.float32)
    spread, mean = frequency * (1 - frequency), frequency
    is_absent = jnp.asarray(~np.asarray(rows).any(axis=1))

    def run(optimizer, rate, rows, noise, is_absent):  # the data are arguments: XLA takes long over constants
        def gradient(w, given):
            x, noise = given[0].astype(jnp.float32), given[1]
            return x.T @ (x @ (w - truth) - noise) / BATCH

        path = descend(optimizer(rate), gradient, jnp.zeros(features), (rows, noise))[1]
        error = path[-1] - truth
        moved = jnp.abs(jnp.diff(path, axis=0))
        return (
            jnp.sum(spread * error**2) + (mean @ error) ** 2,
            path[-1],
            jnp.sum(moved * is_absent[1:]) / jnp.sum(moved),
        )

    results, points = [], []
    seen = np.asarray(rows.any(axis=(0, 1)))
    rare = seen & (np.arange(features) >= features // 2)
    edges = np.unique(np.geomspace(1, features, 13).astype(int))
    for name, (optimizer, middle) in OPTIMIZERS.items():
        etas = middle * np.geomspace(0.03, 30, rates)
        mapped = jax.jit(lambda rates, *data, o=optimizer: jax.lax.map(lambda rate: run(o, rate, *data), rates))
        losses, weights, absent = map(np.asarray, mapped(jnp.asarray(etas, jnp.float32), rows, noise, is_absent))
        best = int(np.nanargmin(losses))
        learnt = np.abs(weights[best] - np.asarray(truth)) < NEAR
        results.append(
            {
                "optimizer": name,
                "best η": etas[best],
                "expected loss": losses[best],
                "rare ones learnt": learnt[rare].mean(),
            }
            | {"common ones learnt": learnt[: features // 20].mean(), "moved while absent": absent[best]}
        )
        points += [
            {
                "rank of the feature": np.sqrt(low * high),
                "share learnt": learnt[low - 1 : high][seen[low - 1 : high]].mean(),
            }
            | {"optimizer": name}
            for low, high in itertools.pairwise(edges)
        ]
    figures = table_of(results)
    chart = pictures.lines(
        table_of(points), "rank of the feature", "share learnt", "optimizer", log="x",
        title="Share of the weights that are learnt, by how rare the feature is",
        notes=[f"After {steps} steps of {BATCH} rows; a feature of rank r is in one row of r. Each with its best η"],
        dashed=["Adam, lazy"],
    )  # fmt: skip
    by = figures.set_index("optimizer")
    rares = by["rare ones learnt"]
    others = rares[["RMSProp", "AdaGrad", "Adam"]]
    paragraph = (
        f"Of the rarer half of the features that were seen at all, SGD has learnt {percent(rares['SGD'])}, momentum "
        f"{percent(rares['momentum'])}, AdaGrad {percent(rares['AdaGrad'])}, RMSProp {percent(rares['RMSProp'])} and "
        f"Adam {percent(rares['Adam'])}, each with its best η: "
        + whether(rares["Adam"] > rares["SGD"] + 0.1, "the claim holds against SGD", "the claim does not show here")
        + whether(rares["Adam"] > rares["momentum"] + 0.1, " and against momentum", ", less so against momentum")
        + f"; of the adaptive ones {others.idxmax()} does best. "
        + f"{percent(by.loc['Adam', 'moved while absent'])} of all that Adam's weights move, they move in steps in "
        "which their feature is absent: its mean of the gradients goes on. Lazy steps leave such weights alone "
        f"({percent(by.loc['Adam, lazy', 'moved while absent'])}) and learn {percent(rares['Adam, lazy'])} of the "
        "rare ones."
    )
    return Shown(paragraph, figures, {"sparse": chart})
