"""The learning-rate range test: the loss while the learning rate rises, in one short run.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186), section 3.3, raises the rate
linearly and looks where the accuracy begins to grow and where it becomes ragged. Here the rate rises by the same factor
each step, as in the learning-rate finder of fastai (Howard and Gugger 2020, arXiv:2002.04688), so that all decades
count alike, and so does the rule for the suggestion: a tenth of the rate at which the loss is smallest, where it
is about to grow.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np
import pandas as pd

from adamkit import rule
from adamkit.keras.internals import build_for, learning_rate_of
from adamkit.lab.errors import InputError, listed
from adamkit.lab.training.population import Program, members_of
from adamkit.lab.training.tracing import reported
from adamkit.lab.training.trainer import check_count, check_model, check_on_jax, checked_data

LOW, HIGH, STEPS = 1e-7, 10.0, 200
MOST_STEPS = 1_000_000
SUGGESTED = 0.1  # of the rate at the smallest loss
DIVERGED = 4.0  # times the smallest smoothed loss: it has diverged, as in fastai
_WIDTH = 0.15  # decades: the standard deviation of the Gaussian weights that smooth the loss
_LEAST_FALL = 5.0  # standard errors of the smoothed loss: less may be noise


@dataclass(frozen=True)
class RangeResult:
    """What a range test gave.

    Attributes:
        history: One row a step: `step` (from 1), `learning_rate`, `loss` (after that step, of the next batch; the mean
            over `orders`) and `smoothed` (the mean over the steps around, with Gaussian weights of 0.15 decades).
        suggested: A tenth of `smallest`; None where the loss does not fall by more than its noise.
        smallest: The learning rate at which the smoothed loss is smallest.
        steepest: The learning rate at which it falls fastest, a decade.
        diverged: Whether it ended before the highest rate, because the loss was 4 times the smallest or not finite.
        seconds: The whole test.
    """

    history: pd.DataFrame
    suggested: float | None
    smallest: float
    steepest: float
    diverged: bool
    seconds: float


def learning_rate_range(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    batch_size: int = 32,
    orders: int = 4,
    seed: int = 0,
) -> RangeResult:
    """Train a compiled Keras model for some steps with a rising learning rate, and suggest one.

    The model is left as it is. Needs Keras's JAX backend.

    Args:
        model: Compiled, with any of Keras's optimizers whose learning rate is a number.
        x: Inputs: an array (rows, …), or a list, tuple or dictionary of them.
        y: Targets, likewise.
        low: The learning rate of the first step, > 0.
        high: Of the last step, > `low`.
        steps: How many, from 10 to a million. They go through the data as often as it takes.
        batch_size: Rows a step, >= 1; as many as there are where there are fewer.
        orders: Runs side by side, each with an order of the rows of its own, >= 1. The loss is their mean, which has
            less noise than that of one; memory and time grow with their number.
        seed: Of these orders.

    Returns:
        The loss over the learning rate, and the suggestion.

    Raises:
        TypeError: `model` is no Keras model, or an argument has the wrong type.
        ValueError: An argument is out of range, the arrays differ in their number of rows, or the optimizer's learning
            rate is a schedule (`InputError`, a ValueError, where the message is for users of the command line too).

    Example:
        >>> import keras, numpy as np
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = learning_rate_range(model, x, x.sum(axis=1))
        >>> 0.001 < result.suggested < 1
        True
    """
    started = time.perf_counter()
    check_on_jax("the range test")
    check_model(model)
    _check_rates(low, high)
    check_count("steps", steps, 10, MOST_STEPS)
    for name, value in (("batch_size", batch_size), ("orders", orders)):
        check_count(name, value)
    data, _ = checked_data(x, y, None, 0.0)
    batch = jax.tree.map(lambda rows: rows[:batch_size], data)
    build_for(model, batch)
    if "loss" not in (names := reported(model, batch)):
        raise InputError(f"the model's training step must report a loss. Received: one that reports {listed(names)}")
    rate = learning_rate_of(model.optimizer)
    if not isinstance(rate, keras.Variable):
        raise InputError(
            f"the range test needs an optimizer whose learning rate is a number. Received: {type(rate).__name__}"
        )

    rates = np.geomspace(low, high, steps)
    losses = _losses(model, data, rates, batch_size, orders, seed)
    diverged = len(losses) < steps or not math.isfinite(losses[-1])
    rates = rates[: len(losses)]
    smoothed = smooth(rates, losses)
    history = pd.DataFrame(
        {"step": np.arange(1, len(losses) + 1), "learning_rate": rates, "loss": losses, "smoothed": smoothed}
    )
    suggested, smallest, steepest = _read(rates, losses, smoothed)
    return RangeResult(history, suggested, smallest, steepest, diverged, time.perf_counter() - started)


def smooth(rates: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The mean of losses (steps,) at rising rates (steps,) over the steps around each, with Gaussian weights.

    Finite losses only; NaN where there is none. Unlike an exponential mean it does not lag behind a rising rate.
    """
    position = np.log10(rates)
    finite = np.isfinite(losses)
    weights = np.exp(-0.5 * ((position[:, None] - position) / _WIDTH) ** 2) * finite
    means = weights @ np.where(finite, losses, 0) / np.maximum(weights.sum(axis=1), np.finfo(float).tiny)
    return np.where(finite, means, np.nan)


def _check_rates(low: float, high: float) -> None:
    try:
        for name, value in (("low", low), ("high", high)):
            rule.check_number(name, value)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    if not 0 < low < high:
        raise InputError(f"learning rates must rise: 0 < low < high. Received: low={low!r}, high={high!r}")


def _losses(model: keras.Model, data: Any, rates: np.ndarray, batch_size: int, orders: int, seed: int) -> np.ndarray:
    """The loss after each step; fewer than rates where it diverges."""
    rows = len(jax.tree.leaves(data)[0])
    batch_size = min(batch_size, rows)
    batches = _batches(rows, batch_size, orders, seed)
    in_batch = np.arange(orders * batch_size, dtype=np.int32).reshape(orders, batch_size)
    program, members = Program.of(model), members_of(model, orders)
    losses: list[float] = []
    best = math.inf
    # A step shows the loss of its batch before it, which is the loss after the step before.
    for step, rate in enumerate([*rates.tolist(), 0.0]):
        batch = _rows(data, next(batches))
        rising = {"learning_rate": np.full(orders, rate, np.float32)}
        members = members._replace(hyperparameters=members.hyperparameters | rising)
        members, logs = program.train_epoch(members, batch, in_batch, batch_size)
        if not step:
            continue
        losses.append(float(np.mean(jax.device_get(logs["loss"]))))
        smoothed = _end_of_smooth(rates[:step], losses)
        best = min(best, smoothed)
        if not math.isfinite(losses[-1]) or smoothed > DIVERGED * best > 0:
            break
    return np.array(losses)


def _batches(rows: int, batch_size: int, orders: int, seed: int) -> Iterator[np.ndarray]:
    """(orders · batch_size,) row numbers, one order after the other: each goes through all rows, and again."""
    generators = [np.random.RandomState([seed, i]) for i in range(orders)]
    waiting = [np.empty(0, dtype=np.int64)] * orders
    while True:
        while len(waiting[0]) < batch_size:
            waiting = [np.append(w, g.permutation(rows)) for w, g in zip(waiting, generators, strict=True)]
        yield np.concatenate([w[:batch_size] for w in waiting])
        waiting = [w[batch_size:] for w in waiting]


def _rows(data: Any, numbers: np.ndarray) -> Any:
    return jax.tree.map(lambda values: np.asarray(values[numbers]), data)


def _end_of_smooth(rates: np.ndarray, losses: list[float]) -> float:
    """The smoothed loss at the last step."""
    near = rates > rates[-1] * 10 ** (-4 * _WIDTH)
    return float(smooth(rates[near], np.array(losses)[near])[-1])


def _read(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray) -> tuple[float | None, float, float]:
    """The suggested rate, the one with the smallest loss and the one with the steepest fall."""
    known = np.isfinite(smoothed)
    if known.sum() < 2:
        return None, math.nan, math.nan
    rates, losses, smoothed = rates[known], losses[known], smoothed[known]
    lowest = int(np.argmin(smoothed))
    position = np.log10(rates)
    before = slice(0, lowest + 1)
    steepest = float(rates[np.argmin(np.gradient(smoothed, position)[before])])
    # Gaussian weights of this width average so many steps: 1 / (the sum of their squares).
    averaged = max(2 * math.sqrt(math.pi) * _WIDTH / (position[1] - position[0]), 1.0)
    noise = float(np.std((losses - smoothed)[before])) / math.sqrt(averaged)
    falls = smoothed[before].max() - smoothed[lowest] > _LEAST_FALL * noise
    return float(SUGGESTED * rates[lowest]) if falls else None, float(rates[lowest]), steepest
