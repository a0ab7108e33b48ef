"""Adam in a ravine with noisy gradients, for β₁ from 0 to 0.99: how rough the path is, and where it overshoots."""

import jax
import jax.numpy as jnp
import numpy as np

from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import adam, decays, descend
from adamkit.lab.insight.experiments.shown import Shown, number, percent, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BETAS = (0.0, 0.5, 0.9, 0.95, 0.99)
START = (-2.0, 0.5)
CURVATURE = (1.0, 30.0)  # along the ravine and across it


def show(
    *, seed: int = 0, seeds: int = 200, steps: int = 800, learning_rate: float = 0.02, noise: float = 3.0
) -> Shown:
    """F = ½(x² + 30·y²) from (−2, ½), with normal noise on each gradient."""
    curvature = jnp.array(CURVATURE)

    noises = jnp.asarray(np.random.default_rng(seed).normal(size=(seeds, steps, 2)) * noise, jnp.float32)

    def run(beta_1, noises):
        start = jnp.array(START)
        path = descend(adam(learning_rate, beta_1), lambda x, noise: curvature * x + noise, start, noises)[1]
        return jnp.concatenate([start[None], path])

    over_seeds = jax.vmap(run, in_axes=(None, 0))
    paths = np.asarray(jax.jit(jax.vmap(over_seeds, in_axes=(0, None)))(decays(BETAS), noises))
    moves = np.diff(paths, axis=2)  # (β, seeds, steps, 2)
    reached = np.argmax(paths[..., 0] > -0.1, axis=2)  # the first step near the minimum, along the ravine
    turns = np.mean(np.sum(moves[:, :, 1:] * moves[:, :, :-1], axis=3) < 0, axis=(1, 2))
    figures = table_of(
        {
            "beta_1": BETAS,
            "turns back": turns,
            "path length": np.linalg.norm(moves, axis=3).sum(axis=2).mean(axis=1),
            "steps to the minimum": np.median(np.where((paths[..., 0] > -0.1).any(axis=2), reached, np.inf), axis=1),
            "overshoots by": np.maximum(paths[..., 0].mean(axis=1).max(axis=1), 0),
            "loss at the end": (np.asarray(curvature) * paths[:, :, -100:] ** 2).sum(axis=3).mean(axis=(1, 2)) / 2,
        }
    )
    rows = [
        {"step": step, "x, along the ravine": float(point[0]), "beta_1": beta}
        for beta, path in zip(BETAS, paths[:, 0], strict=True)
        for step, point in enumerate(path[::4] if steps > 200 else path)
    ]
    table = table_of(rows)
    table["step"] *= 4 if steps > 200 else 1
    charts = {
        "momentum": pictures.lines(
            table, "step", "x, along the ravine", "beta_1", points=False, reference=(0.0, "the minimum"),
            title="One path along the ravine, for each beta_1", notes=["Adam, the same noise in the gradients for all"],
        )
    }  # fmt: skip
    by = figures.set_index("beta_1")
    best = float(by["loss at the end"].idxmin())
    paragraph = (
        f"Without momentum {percent(by.loc[0.0, 'turns back'])} of the steps turn back on the one before, with β₁ = "
        f"0.9 {percent(by.loc[0.9, 'turns back'])}, and the path is "
        f"{number(by.loc[0.0, 'path length'] / by.loc[0.9, 'path length'])} times as long without it: momentum does "
        "smooth the path. It does not come for free. With β₁ = 0.99 Adam overshoots the minimum, in the mean, by "
        f"{number(by.loc[0.99, 'overshoots by'])} on a way of {-START[0]:g}, with β₁ = 0.9 by "
        f"{number(by.loc[0.9, 'overshoots by'])}. "
        + whether(
            by["loss at the end"].max() < 1.3 * by["loss at the end"].min(),
            "And where a path ends its smoothness matters little: ",
            "Where it ends: ",
        )
        + f"over the last 100 steps the mean loss is {number(by.loc[0.0, 'loss at the end'])} at β₁ = 0, "
        f"{number(by.loc[0.9, 'loss at the end'])} at 0.9 and {number(by.loc[0.99, 'loss at the end'])} at 0.99; the "
        f"least of these five is at β₁ = {best:g}."
    )
    return Shown(paragraph, figures, charts)
