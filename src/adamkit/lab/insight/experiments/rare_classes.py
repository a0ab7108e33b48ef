"""Classes whose frequency falls as 1/rank, a linear softmax, the whole loss: that of the rare ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, descend, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, percent, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

OPTIMIZERS = {
    "gradient descent": (lambda rate: of_optax(optax.sgd(rate)), (1.0, 10000.0)),
    "momentum": (lambda rate: of_optax(optax.sgd(rate, 0.9)), (1.0, 10000.0)),
    "Adam": (adam, (1e-3, 10.0)),
}


def show(*, seed: int = 0, classes: int = 150, columns: int = 250, steps: int = 150, rates: int = 9) -> Shown:
    """A random input for each class, weighted by how often it is; the loss is that above the least possible one."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, classes + 1)
    weight /= weight.sum()
    x = jnp.asarray(rng.normal(size=(classes, columns)) / np.sqrt(columns), jnp.float32)
    common = np.cumsum(weight) <= 0.5  # the classes that make up half of the rows

    # Nine rows of ten have the input's own class, the tenth any: so the least loss is not 0, and η can be too large.
    target = 0.9 * jnp.eye(classes) + 0.1 * jnp.asarray(weight)
    least = -jnp.sum(target * jnp.log(target), axis=1)

    def losses(w):
        return -jnp.sum(target * jax.nn.log_softmax(x @ w), axis=1) - least

    def run(optimizer, rate):
        def gradient(w, _):
            return jax.grad(lambda w: jnp.sum(weight * losses(w)))(w)

        path = descend(optimizer(rate), gradient, jnp.zeros((columns, classes)), steps)[1]
        return jax.lax.map(losses, path)

    parts, results = [], []
    for name, (optimizer, ends) in OPTIMIZERS.items():
        etas = np.geomspace(ends[0], ends[1], rates)
        mapped = jax.jit(lambda rates, o=optimizer: jax.lax.map(lambda rate: run(o, rate), rates))
        found = np.asarray(mapped(jnp.asarray(etas, jnp.float32)))  # (rates, steps, classes)
        best = int(np.nanargmin(found[:, -1] @ weight))
        own = found[best]
        means = {}
        for group, chosen in (("common", common), ("rare", ~common)):
            curve = own[:, chosen] @ weight[chosen] / weight[chosen].sum()
            parts.append(table_of({"step": np.arange(1, steps + 1), "loss": curve}).assign(case=f"{name}, {group}"))
            means[f"loss of {group} classes"] = curve[-1]
        results.append({"optimizer": name, "best η": etas[best], "loss": own[-1] @ weight} | means)
    figures, table = table_of(results), stacked(parts)
    chart = pictures.lines(
        table, "step", "loss", "case", log="y", points=False,
        dashed=[case for case in table.case.unique() if case.endswith("rare")],
        title="The loss of common and of rare classes",
        notes=["All rows in each step; dashed: classes of the rarer half of the rows"],
    )  # fmt: skip
    by = figures.set_index("optimizer")
    descent, ours = by.loc["gradient descent"], by.loc["Adam"]
    edges = [name for name, (_, ends) in OPTIMIZERS.items() if by.loc[name, "best η"] >= 0.99 * ends[1]]
    gains = {
        group: descent[f"loss of {group} classes"] - ours[f"loss of {group} classes"] for group in ("common", "rare")
    }
    share = gains["rare"] / (gains["rare"] + gains["common"])
    paragraph = (
        f"After {steps} full-batch steps with the best η of each, gradient descent is above the least loss by "
        f"{number(descent['loss of common classes'])} on the common classes and "
        f"{number(descent['loss of rare classes'])} on the rarer half of the rows; Adam "
        f"{number(ours['loss of common classes'])} and {number(ours['loss of rare classes'])}. There is no noise in "
        "these gradients, so noise cannot be the reason. "
        + whether(
            share > 0.7 and gains["common"] > -1e-3,
            f"{percent(share)} of what Adam gains on gradient descent it gains on rare classes, as Kunstner et al. "
            "2024 say: their gradients are small, and Adam divides by the size. ",
            f"{percent(share)} of what Adam gains on gradient descent it gains on rare classes: not as Kunstner et al. "
            "2024 say. ",
        )
        + f"Momentum, with {number(by.loc['momentum', 'loss of rare classes'])} on the rare ones, "
        + whether(by.loc["momentum", "loss"] > 1.2 * ours["loss"], "does not close the gap.", "closes the gap.")
        + whether(
            edges,
            f" For {', '.join(edges)} the best η is the largest tried: of what can be learnt exactly, larger "
            "ones go further.",
            "",
        )
    )
    return Shown(paragraph, figures, {"rare-classes": chart})
