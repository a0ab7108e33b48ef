"""ε from 10⁻¹² to 1 with η tuned to each: from steps of one size to gradient descent with momentum."""

import itertools

import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of


def show(*, seed: int = 0, rates: int = 13, steps: int = 120, seeds: int = 3) -> Shown:
    """Digits and one hidden layer, by the loss on held-out rows."""
    rows = tasks.digits(seed=seed)
    epsilons, etas = 10.0 ** np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2]), np.geomspace(1e-4, 1e2, rates)
    grid = np.array(list(itertools.product(epsilons, etas)))
    options = {"steps": steps, "batch_size": 64, "seeds": seeds, "seed": seed}
    fitted = tasks.fit(
        lambda own: adam(own[1], epsilon=own[0]), (jnp.array(grid[:, 0]), jnp.array(grid[:, 1])), rows, **options
    )
    descent = tasks.fit(lambda rate: of_optax(optax.sgd(rate, 0.9)), jnp.geomspace(1e-3, 1, rates), rows, **options)
    table = table_of(grid, columns=["ε", "η"]).assign(loss=fitted.test_loss.mean(axis=1), case="Adam")
    table.loc[~np.isfinite(table.loss), "loss"] = np.inf
    figures = table.loc[table.groupby("ε").loss.idxmin(), ["ε", "η", "loss"]].rename(columns={"η": "best η"})
    figures["best η / ε"] = figures["best η"] / figures["ε"]
    momentum = float(np.nanmin(descent.test_loss.mean(axis=1)))
    largest = figures[figures["ε"] >= 1]
    slope = float(np.polyfit(np.log10(largest["ε"]), np.log10(largest["best η"]), 1)[0])
    capped = table.assign(loss=table.loss.clip(upper=20))
    chart = pictures.heat_maps(
        capped.rename(columns={"loss": "held-out loss"}), "η", "ε", "held-out loss", "case", log=True,
        title=f"Held-out loss on digits after {steps} steps, over η and ε",
        notes=["Framed: the best. Losses above 20 are shown as 20"],
    )  # fmt: skip
    small, best = figures.iloc[0], figures.loc[figures.loss.idxmin()]
    same = figures["best η"] == small["best η"]
    idle = float(figures["ε"][same.cummin()].max())
    default = figures.set_index("ε").loss.get(1e-8)
    paragraph = (
        f"With η tuned to each ε, the loss is {number(small.loss)} at ε = {number(small['ε'])}, {number(default)} at "
        f"10⁻⁸, {number(figures.loss.iloc[-1])} at ε = {number(figures['ε'].iloc[-1])}; the least is "
        f"{number(best.loss)} at ε = {number(best['ε'])}. Up to ε = {number(idle)} the best η stays "
        f"{number(small['best η'])}: each step has the size η whatever the gradient. From ε = 1 to "
        f"{number(figures['ε'].iloc[-1])} the best η moves with ε, {slope:+.2f} decades a decade: what counts is η/ε, "
        f"and Adam has become gradient descent with momentum, whose own best loss is {number(momentum)}. "
        + whether(
            best.loss < 0.9 * default,
            "Here ε is worth tuning, together with η.",
            f"On this task ε needs no thought up to {number(idle)}; above, it must not be changed without η.",
        )
    )
    return Shown(paragraph, figures.reset_index(drop=True), {"epsilon": chart})
