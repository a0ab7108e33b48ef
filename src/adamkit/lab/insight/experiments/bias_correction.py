"""With and without bias correction: the first step, and a network over η and β₂ (Kingma and Ba 2015, Figure 4)."""

import itertools

import jax.numpy as jnp
import numpy as np
import pandas as pd

import adamkit
from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, decays
from adamkit.lab.insight.experiments.shown import Shown, number, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BETAS_1, BETAS_2 = (0.0, 0.9), (0.99, 0.999, 0.9999)
WITH, WITHOUT = "with bias correction", "without"


def show(*, seed: int = 0, rates: int = 9, steps: int = 80, seeds: int = 2) -> Shown:
    """Digits and one hidden layer; the loss after some steps at each η, β₁ and β₂."""
    rows = tasks.digits(seed=seed)
    grid = list(itertools.product(np.geomspace(1e-4, 1, rates), BETAS_1, BETAS_2))
    eta, beta_1, beta_2 = zip(*grid, strict=True)
    settings = jnp.array(eta), decays(beta_1), decays(beta_2)
    parts = []
    for corrected in (True, False):
        fitted = tasks.fit(
            lambda own, c=corrected: adam(*own, bias_correction=c), settings, rows,
            steps=steps, batch_size=64, seeds=seeds, seed=seed,
        )  # fmt: skip
        table = table_of(grid, columns=["learning_rate", "beta_1", "beta_2"])
        parts.append(table.assign(part=WITH if corrected else WITHOUT, loss=fitted.loss.mean(axis=1)))
    table = stacked(parts)
    table.loc[~np.isfinite(table.loss), "loss"] = np.inf
    best = table.groupby(["beta_1", "beta_2", "part"]).loss.min().unstack()
    rate_of = table.loc[table.groupby(["beta_1", "beta_2", "part"]).loss.idxmin()]
    rate_of = rate_of.set_index(["beta_1", "beta_2", "part"]).learning_rate.unstack()
    figures = best.reset_index()
    figures["first step without, in η"] = [first_step(a, b) for a, b in best.index]
    figures["best η with"], figures["best η without"] = rate_of[WITH].to_numpy(), rate_of[WITHOUT].to_numpy()
    shown = table[table.beta_1 == 0].assign(case=lambda t: t.beta_2.map("beta_2 = {:g}, ".format) + t.part)
    chart = pictures.lines(
        shown.sort_values(["beta_2", "part", "learning_rate"]), "learning_rate", "loss", "case", log="xy", clip=10,
        title=f"Loss on digits after {steps} steps, beta_1 = 0",
        notes=[f"Dashed: without bias correction. Each the mean of {seeds} seeds; losses above 10 are drawn at 10"],
        dashed=[case for case in shown.case.unique() if case.endswith(WITHOUT)],
    )  # fmt: skip
    by = table.set_index(["beta_1", "beta_2", "learning_rate", "part"]).loss.unstack()
    same = pd.Series({pair: by.loc[(*pair, rate_of.loc[pair, WITH]), WITHOUT] for pair in best.index})
    figures["loss without, at the best η with"] = same.to_numpy()
    harm = same / best[WITH]
    plain, extreme = first_step(0.9, 0.999), first_step(0.0, 0.9999)
    paragraph = (
        f"Without bias correction the first step at the defaults is {number(plain)} η in place of η, at β₁ = 0 "
        f"{number(first_step(0.0, 0.999))} η, and at β₁ = 0 and β₂ = 0.9999 {number(extreme)} η: v begins at 0 and "
        "takes 1/(1 − β₂) steps to grow. On digits, at the η that is best with it, leaving it out multiplies the "
        f"loss by {number(harm[0.0, 0.99])}, {number(harm[0.0, 0.999])} and {number(harm[0.0, 0.9999])} for β₂ = "
        f"0.99, 0.999 and 0.9999 at β₁ = 0, and by {number(harm[0.9, 0.99])}, {number(harm[0.9, 0.999])} and "
        f"{number(harm[0.9, 0.9999])} at β₁ = 0.9: "
        + whether(
            all(harm[b, 0.9999] > harm[b, 0.99] for b in BETAS_1),
            "the nearer β₂ is to 1 the more it harms, as in the paper. ",
            "not as in the paper, where it harms more the nearer β₂ is to 1. ",
        )
        + "A smaller η repairs much of it: with η tuned to each, the losses at β₂ = 0.9999 are "
        f"{number(best.loc[(0.0, 0.9999), WITH])} with and {number(best.loc[(0.0, 0.9999), WITHOUT])} without it at "
        f"β₁ = 0, and {number(best.loc[(0.9, 0.9999), WITH])} and {number(best.loc[(0.9, 0.9999), WITHOUT])} at β₁ = "
        "0.9"
        + whether(
            best.loc[(0.9, 0.9999), WITHOUT] < best.loc[(0.9, 0.9999), WITH],
            "; there, on this small task, the long first steps are even of use.",
            ".",
        )
    )
    return Shown(paragraph, figures, {"bias-correction": chart})


def first_step(beta_1: float, beta_2: float) -> float:
    """The size of the first step without bias correction, in units of η."""
    options = {"learning_rate": 1.0, "beta_1": beta_1, "beta_2": beta_2, "epsilon": 0.0, "bias_correction": False}
    return float(-adamkit.step(np.zeros(1), np.ones(1), adamkit.init(np.zeros(1)), **options)[0][0])
