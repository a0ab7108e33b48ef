"""The online example of Reddi et al. 2018, on which Adam goes to the wrong end and AMSGrad to the right one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import Optimizer, adam, decays, descend
from adamkit.lab.insight.experiments.shown import Shown, number, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

PERIOD, LARGE, SMALL = 101, 1010.0, -10.0  # one large gradient, then 100 small ones the other way: 0.1 on average
BETAS_2 = (0.5, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)
ETAS = (0.1, 0.3, 1.0)
KINDS = {"Adam": False, "AMSGrad": True}


def show(*, seed: int = 0, steps: int = 40_000) -> Shown:
    """Minimize over x in [−1, 1] from 0 with η/√t and β₁ = 0: the mean gradient is positive, so the best x is −1."""
    del seed  # nothing in it is random
    grid = list(itertools.product(ETAS, BETAS_2))

    def run(eta, beta_2, amsgrad):
        own = adam(lambda t: eta / jnp.sqrt(t), 0.0, beta_2, 0.0, amsgrad=amsgrad)

        def step(x, gradient, state):
            x, state = own.step(x, gradient, state)
            return jnp.clip(x, -1.0, 1.0), state

        def gradient(_, t):
            return jnp.where(t % PERIOD == 0, LARGE, SMALL)

        return descend(Optimizer(own.init, step), gradient, jnp.zeros(()), steps)[1][-PERIOD * 10 :].mean()

    etas, betas = zip(*grid, strict=True)
    parts = []
    for name, amsgrad in KINDS.items():
        mapped = jax.jit(jax.vmap(lambda eta, beta, a=amsgrad: run(eta, beta, a)))
        ends = np.asarray(mapped(jnp.array(etas), decays(betas)))
        parts.append(table_of(grid, columns=["η", "β₂"]).assign(optimizer=name, x=ends))
    figures = stacked(parts)
    shown = figures.assign(case=figures.optimizer + ", η = " + figures["η"].map("{:g}".format) + "/√t")
    shown["1 − beta_2"] = 1 - shown["β₂"]
    chart = pictures.lines(
        shown, "1 − beta_2", "x", "case", log="x", reference=(-1.0, "the best x"),
        title="Where x ends, by beta_2", notes=["One gradient of 1010, then 100 of −10; dashed: AMSGrad"],
        dashed=[case for case in shown.case.unique() if case.startswith("AMSGrad")],
    )  # fmt: skip
    by = {name: one.groupby("β₂").x.agg(["min", "max"]) for name, one in figures.groupby("optimizer")}
    fails = [beta for beta, row in by["Adam"].iterrows() if row["max"] > 0]
    saved = by["AMSGrad"]["max"].max()
    safe = [beta for beta in BETAS_2 if beta not in fails]
    paragraph = (
        f"One gradient of {LARGE:g} and then {PERIOD - 1} of {SMALL:g}: the mean is positive and the best x is −1. "
        + whether(
            fails,
            f"Adam goes towards +1, the worst, at β₂ = {', '.join(f'{b:g}' for b in fails)}: by the next large "
            "gradient "
            "the last one is forgotten, and each is divided by its own size. ",
            "Adam does not fail here. ",
        )
        + whether(
            safe,
            f"At β₂ = {', '.join(f'{b:g}' for b in safe)} the memory of 1/(1 − β₂) steps is long enough beside the "
            f"{PERIOD} between two of them. ",
            "",
        )
        + f"AMSGrad, which keeps the largest v, ends at {number(by['AMSGrad']['min'].min())} to {number(saved)} in "
        f"all cases" + whether(saved < 0, ", always on the right side.", ".")
    )
    return Shown(paragraph, figures, {"divergence": chart})
