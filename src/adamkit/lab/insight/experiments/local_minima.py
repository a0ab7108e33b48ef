"""A shallow and a deep minimum, a thousand starts: which of them end where."""

import jax
import jax.numpy as jnp
import numpy as np

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, descend
from adamkit.lab.insight.experiments.shown import Shown, number, percent, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BARRIER = float(np.sort(np.roots([4, 0, -4, 0.3]).real)[1])  # the maximum between the minima: f' = 0
METHODS = {
    "gradient descent": {"beta_1": 0.0, "adaptivity": False},
    "momentum 0.9": {"beta_1": 0.9, "adaptivity": False},
    "momentum 0.99": {"beta_1": 0.99, "adaptivity": False},
    "Adam, no momentum": {"beta_1": 0.0},
    "Adam": {"beta_1": 0.9},
    "Adam, momentum 0.99": {"beta_1": 0.99},
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
    table = table_of(points)
    figures = table.groupby("method", sort=False)[["got out of the shallow one", "left the deep one"]].max()
    figures["ends in the deep one, at least"] = table.groupby("method")["ends in the deep one"].min()
    figures["ends in the deep one, at most"] = table.groupby("method")["ends in the deep one"].max()
    base = float(np.mean(np.asarray(x) < BARRIER))
    chart = pictures.lines(
        table, "η", "ends in the deep one", "method", log="x", reference=(base, "starts on its side"),
        title="Share of the starts that end in the deep minimum", notes=[f"f = (x² − 1)² + 0.3·x, {starts:,} starts"],
    )  # fmt: skip
    heavy, adams = figures.loc["momentum 0.99"], figures.loc["Adam"]
    small = table[table["η"] == etas[0]].set_index("method")
    plain, escaped, left = figures.loc["gradient descent"], "got out of the shallow one", "left the deep one"
    paragraph = (
        f"{percent(base)} of the starts lie on the deep minimum's side. With small steps (η = {number(etas[0])}) "
        f"gradient descent gets {percent(small.loc['gradient descent', escaped])} of the others out of the shallow "
        f"one, and Adam {percent(small.loc['Adam', escaped])}. At the η that suits it best, momentum of 0.99 rolls "
        f"over the barrier from {percent(heavy[escaped])} of them, and Adam with its usual momentum from "
        f"{percent(adams[escaped])}; gradient descent with its largest steps jumps over it from "
        f"{percent(plain[escaped])}. But nothing tells any of them which side is deep: they also carry up to "
        f"{percent(heavy[left])}, {percent(adams[left])} and {percent(plain[left])} of the starts on the deep side "
        f"out of it. In all, at most {percent(figures['ends in the deep one, at most'].max())} end in the deep one"
        + whether(
            figures["ends in the deep one, at most"].max() < base + 0.2,
            ": momentum crosses barriers, but does not find better minima.",
            ".",
        )
    )
    return Shown(paragraph, figures.reset_index(), {"local-minima": chart})
