"""Steps to the minimum of a quadratic by its condition: gradient descent, momentum, Adam, and Adam on it rotated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import adamkit
from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.optimizers import Optimizer, adam, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of

REDUCTION = 1e-6  # of the loss
RATES = np.geomspace(1e-3, 1, 13)  # of Adam, the best of which is shown
GRADIENT_DESCENT, MOMENTUM, ADAM, ROTATED = "gradient descent", "momentum", "Adam", "Adam, rotated"


def show(*, seed: int = 0, decades: int = 6, dimensions: int = 5, most_steps: int = 20_000) -> Shown:
    """f(x) = ½ Σ hᵢ·xᵢ² with h from 1 to the condition, from a random start; the best fixed rate of each optimizer."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    start = rng.normal(size=dimensions)
    # A program for each kind of optimizer; its settings and the matrix are arguments of it.
    momentum = _program(lambda rate, beta: of_optax(optax.sgd(rate, beta)), start)
    plain = _program(lambda rate, _: of_optax(optax.sgd(rate)), start)
    adapted = _program(lambda rate, _: adam(rate, epsilon=0.0), start)
    rates = [(rate, 0.0) for rate in RATES]
    rows = []
    for condition in 10.0 ** np.arange(decades + 1):
        curvature = np.geomspace(1, condition, dimensions)
        straight, turned = np.diag(curvature), turn.T * curvature @ turn
        root = np.sqrt(condition)
        best = 4 / (root + 1) ** 2, ((root - 1) / (root + 1)) ** 2  # Polyak 1964
        found = {
            GRADIENT_DESCENT: plain([(2 / (1 + condition), 0.0)], straight, 10**8),
            MOMENTUM: momentum([best], straight, 10**6),
            ADAM: adapted(rates, straight, most_steps),
            ROTATED: adapted(rates, turned, most_steps),
        }
        rows += [{"condition": condition, "optimizer": name, "steps": steps} for name, steps in found.items()]
    figures = table_of(rows)
    table = figures.pivot_table(index="condition", columns="optimizer", values="steps", dropna=False)
    growth = {name: table[name].iloc[-1] / table[name].iloc[1] for name in table}
    mild, worst, same = table.index[1], table.index[-1], bit_identical(seed)
    chart = pictures.lines(
        figures, "condition", "steps", "optimizer", log="xy", title="Steps until the loss is a millionth",
        notes=[f"A quadratic of {dimensions} coordinates; each optimizer with its best fixed rate"],
    )  # fmt: skip
    rotated = table[ROTATED].iloc[-1]
    paragraph = (
        f"From condition {number(mild)} to {number(worst)}, gradient descent needs {number(growth[GRADIENT_DESCENT])} "
        f"times as many steps and momentum {number(growth[MOMENTUM])} times (the root of the ratio is "
        f"{number(np.sqrt(worst / mild))}). Adam needs {number(table[ADAM].iloc[1])} steps at condition "
        f"{number(mild)} and {number(table[ADAM].iloc[-1])} at {number(worst)}: each coordinate is divided by the "
        "size of its own gradients. With ε = 0, gradients scaled by powers of two give "
        f"{whether(same, 'the same path to the bit', 'another path')}. The same quadratic rotated, "
        + whether(
            np.isfinite(rotated),
            f"Adam needs {number(rotated)} steps: it looks at coordinates one by one, and "
            + whether(rotated > 2 * table[ADAM].iloc[-1], "loses much of the advantage", "keeps the advantage here")
            + " where the valley runs across them.",
            f"no fixed rate of Adam gets there within {most_steps:,} steps: it looks at coordinates one by one, and "
            "the "
            "advantage is gone where the valley runs across them.",
        )
    )
    return Shown(paragraph, figures, {"adaptive-rates": chart})


def bit_identical(seed: int, steps: int = 100) -> bool:
    """Whether paths of `adamkit.step` are equal bit by bit when each coordinate has its own power of two."""
    rng = np.random.default_rng(seed)
    gradients, powers = rng.normal(size=(steps, 8)), 2.0 ** rng.integers(-40, 40, 8)
    paths = []
    for scale in (np.ones(8), powers):
        x = np.ones(8)
        state = adamkit.init(x)
        for gradient in gradients:
            x, state = adamkit.step(x, gradient * scale, state, epsilon=0.0)
        paths.append(x)
    return bool(np.array_equal(*paths))


def _program(optimizer: Callable[[Any, Any], Optimizer], start: np.ndarray) -> Callable[..., float]:
    """Of settings, a matrix and the most steps: the fewest steps that one needs; infinite where none gets there."""

    def run(setting, matrix, most):
        own = optimizer(*setting)

        def is_above(x):
            return x @ matrix @ x > REDUCTION * (start @ matrix @ start)

        def one(state):
            x, memory, step = state
            return *own.step(x, matrix @ x, memory), step + 1

        first = jnp.asarray(start), own.init(jnp.asarray(start)), 0
        x, _, step = jax.lax.while_loop(lambda state: (state[2] < most) & is_above(state[0]), one, first)
        return jnp.where(is_above(x), jnp.inf, step)

    mapped = jax.jit(jax.vmap(run, in_axes=(0, None, None)))

    def fewest(settings, matrix, most):
        with jax.enable_x64(True):
            return float(np.min(mapped(jnp.array(settings), jnp.array(matrix), most)))

    return fewest
