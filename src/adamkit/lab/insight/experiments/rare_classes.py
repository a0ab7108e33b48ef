"""Classes whose frequency falls as 1/rank, a linear softmax, all rows at once: the loss of the rare ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, descend, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

OPTIMIZERS = {
    "gradient descent": (lambda rate: of_optax(optax.sgd(rate)), (0.3, 300.0)),
    "momentum": (lambda rate: of_optax(optax.sgd(rate, 0.9)), (0.03, 30.0)),
    "Adam": (adam, (1e-3, 1.0)),
}


def show(
    *, seed: int = 0, rows: int = 160, columns: int = 200, classes: int = 24, steps: int = 150, rates: int = 7
) -> Shown:
    """Random inputs, more columns than rows, so that all of it can be learnt; the rate with the least loss of each."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, classes + 1)
    y = np.sort(rng.choice(classes, rows, p=frequency / frequency.sum()))
    x = jnp.asarray(rng.normal(size=(rows, columns)) / np.sqrt(columns), jnp.float32)
    target = jax.nn.one_hot(y, classes)
    counts = np.bincount(y, minlength=classes)
    common = counts[y] >= np.sort(counts[y])[rows // 2]  # about half of the rows

    def run(optimizer, rate):
        def gradient(w, _):
            return x.T @ (jax.nn.softmax(x @ w) - target) / rows

        def losses(w):
            return -jnp.sum(jax.nn.log_softmax(x @ w) * target, axis=1)

        path = descend(optimizer(rate), gradient, jnp.zeros((columns, classes)), steps)[1]
        return jax.lax.map(losses, path)

    parts, results = [], []
    for name, (optimizer, ends) in OPTIMIZERS.items():
        etas = np.geomspace(ends[0], ends[1], rates)
        mapped = jax.jit(lambda rates, o=optimizer: jax.lax.map(lambda rate: run(o, rate), rates))
        losses = np.asarray(mapped(jnp.asarray(etas, jnp.float32)))  # (rates, steps, rows)
        best = int(np.nanargmin(losses[:, -1].mean(axis=1)))
        own = losses[best]
        for group, chosen in (("common", common), ("rare", ~common)):
            table = table_of({"step": np.arange(1, steps + 1), "loss": own[:, chosen].mean(axis=1)})
            parts.append(table.assign(case=f"{name}, {group}"))
        results.append(
            {
                "optimizer": name,
                "best η": etas[best],
                "loss": own[-1].mean(),
                "loss of common classes": own[-1, common].mean(),
            }
            | {"loss of rare classes": own[-1, ~common].mean()}
        )
    figures, table = table_of(results), stacked(parts)
    chart = pictures.lines(
        table, "step", "loss", "case", log="y", points=False,
        dashed=[case for case in table.case.unique() if case.endswith("rare")],
        title="The loss of common and of rare classes",
        notes=["All rows in each step; dashed: the rarer half of the rows"],
    )  # fmt: skip
    by = figures.set_index("optimizer")
    descent, ours = by.loc["gradient descent"], by.loc["Adam"]
    edges = [name for name, (_, ends) in OPTIMIZERS.items() if by.loc[name, "best η"] >= 0.99 * ends[1]]
    gaps = [descent[f"loss of {group} classes"] / ours[f"loss of {group} classes"] for group in ("common", "rare")]
    paragraph = (
        f"After {steps} full-batch steps with the best η of each, gradient descent has a loss of "
        f"{number(descent['loss of common classes'])} on the common classes and "
        f"{number(descent['loss of rare classes'])} on the rarer half of the rows; Adam "
        f"{number(ours['loss of common classes'])} and {number(ours['loss of rare classes'])}. There is no noise in "
        "these gradients, so noise cannot be the reason. "
        + whether(
            gaps[1] > gaps[0],
            f"Gradient descent is behind by a factor of {number(gaps[0])} on the common and {number(gaps[1])} on the "
            "rare "
            "classes: as Kunstner et al. 2024 say, it is the rare ones that Adam learns faster. ",
            f"Gradient descent is behind by a factor of {number(gaps[0])} on the common and {number(gaps[1])} on the "
            "rare "
            "classes: here the rare ones are not where Adam gains most. ",
        )
        + f"Momentum, with {number(by.loc['momentum', 'loss of rare classes'])} on the rare ones, "
        + whether(by.loc["momentum", "loss"] > 1.2 * ours["loss"], "does not close the gap.", "closes the gap.")
        + whether(
            edges,
            f" For {', '.join(edges)} the best η is the largest tried: on rows that can be learnt exactly, larger "
            "ones go further.",
            "",
        )
    )
    return Shown(paragraph, figures, {"rare-classes": chart})
