"""A shallow and a deep minimum, a thousand starts: which of them end where."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, descend
from adamkit.lab.insight.experiments.shown import Shown, number, percent, whether

BARRIER = 0.0376  # between the minima: where f' = 0, f'' < 0
METHODS = {
    "gradient descent": {"beta_1": 0.0, "adaptivity": False},
    "momentum 0.9": {"beta_1": 0.9, "adaptivity": False},
    "momentum 0.99": {"beta_1": 0.99, "adaptivity": False},
    "Adam, β₁ = 0": {"beta_1": 0.0},
    "Adam, β₁ = 0.9": {"beta_1": 0.9},
    "Adam, β₁ = 0.99": {"beta_1": 0.99},
}


def show(*, seed: int = 0, starts: int = 1000, steps: int = 2000, rates: int = 13) -> Shown:
    """f(x) = (x² − 1)² + 0.3·x: shallow at +0.96, deep at −1.04; starts spread over [−2, 2]; η from 0.001 to 0.1."""
    x = jnp.asarray(np.random.default_rng(seed).uniform(-2, 2, starts), jnp.float32)
    etas = np.geomspace(1e-3, 0.1, rates)

    def gradient(x, _):
        return 4 * x * (x**2 - 1) + 0.3

    points = []
    for name, options in METHODS.items():
        mapped = jax.jit(jax.vmap(lambda eta, o=options: descend(adam(eta, **o), gradient, x, steps, keep=False)[0]))
        ends, right = np.asarray(mapped(jnp.array(etas, jnp.float32))), np.asarray(x) > BARRIER
        points += [
            {"η": eta, "ends in the deep one": np.mean(end < BARRIER), "method": name}
            | {"got out of the shallow one": np.mean(end[right] < BARRIER)}
            | {"left the deep one": np.mean(end[~right] > BARRIER)}
            for eta, end in zip(etas, ends, strict=True)
        ]
    table = pd.DataFrame(points)
    figures = table.groupby("method", sort=False)[["got out of the shallow one", "left the deep one"]].max()
    figures["ends in the deep one, at least"] = table.groupby("method")["ends in the deep one"].min()
    figures["ends in the deep one, at most"] = table.groupby("method")["ends in the deep one"].max()
    base = float(np.mean(np.asarray(x) < BARRIER))
    chart = pictures.lines(
        table, "η", "ends in the deep one", "method", log="x", reference=(base, "starts on its side"),
        title="Share of the starts that end in the deep minimum", notes=[f"f = (x² − 1)² + 0.3·x, {starts:,} starts"],
    )  # fmt: skip
    heavy, adams = figures.loc["momentum 0.99"], figures.loc["Adam, β₁ = 0.9"]
    small = table[table["η"] == etas[0]].set_index("method")
    paragraph = (
        f"{percent(base)} of the starts lie on the deep minimum's side, and without momentum gradient descent gets "
        f"{percent(figures.loc['gradient descent', 'got out of the shallow one'])} of the others out of the shallow "
        f"one, "
        f"at the best η. Momentum can roll over the barrier: at some η Adam with β₁ = 0.9 gets "
        f"{percent(adams.iloc[0])} and momentum of 0.99 {percent(heavy.iloc[0])} out. But nothing tells it which side "
        f"is "
        f"deep: they also carry up to {percent(adams.iloc[1])} and {percent(heavy.iloc[1])} of the starts on the deep "
        f"side "
        f"out of it, and at η = {number(etas[0])} Adam gets "
        f"{percent(small.loc['Adam, β₁ = 0.9', 'got out of the shallow one'])} out. "
        + whether(
            adams.iloc[0] < 0.9,
            "It is a matter of speed on the way, so of where it starts, not a search for better minima.",
            "Where it ends is a matter of the speed that it arrives with, not a search for better minima.",
        )
    )
    return Shown(paragraph, figures.reset_index(), {"local-minima": chart})
