"""The small tasks that several experiments train on: digits as a Keras model, and as pure functions of arrays."""

import itertools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adamkit.lab import data
from adamkit.lab.insight.experiments.optimizers import Optimizer, descend
from adamkit.lab.training.population import fast_compilation

CLASSES = 10


class Rows(NamedTuple):
    """Rows to train on, and others to measure on: x (rows, 64) float32 in [0, 1], y (rows,) int32."""

    x: Any
    y: Any
    test_x: Any
    test_y: Any


def digits(rows: int = 1024, *, test_rows: int = 512, label_noise: float = 0.0, seed: int = 0) -> Rows:
    """The images of scikit-learn's digits, flattened; a share of the labels to train on may be drawn anew."""
    dataset = data.load("digits", seed=seed)
    x, y = dataset.x.reshape(len(dataset), -1), dataset.y.copy()
    rng = np.random.default_rng(seed)
    wrong = rng.random(rows) < label_noise
    y[:rows][wrong] = rng.integers(0, CLASSES, np.count_nonzero(wrong))
    return Rows(x[:rows], y[:rows], x[rows : rows + test_rows], y[rows : rows + test_rows])


def classifier(optimizer: Any, *, hidden: int = 32, seed: int = 0) -> Any:
    """A compiled Keras model for digits, with one hidden layer."""
    import keras

    start: Any = keras.initializers.GlorotUniform
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(hidden, "relu", kernel_initializer=start(seed)),
            keras.layers.Dense(CLASSES, "softmax", kernel_initializer=start(seed + 1)),
        ]
    )
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def network(sizes: tuple[int, ...], rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """Weights (Glorot uniform) and biases (0) of a dense network."""
    return [
        (jnp.asarray(rng.uniform(-1, 1, (a, b)) * np.sqrt(6 / (a + b)), jnp.float32), jnp.zeros(b))
        for a, b in itertools.pairwise(sizes)
    ]


def outputs(layers: list[tuple[Any, Any]], x: Any, activation: Any = jax.nn.relu) -> Any:
    """What such a network makes of rows x: (rows, outputs)."""
    for weights, bias in layers[:-1]:
        x = activation(x @ weights + bias)
    weights, bias = layers[-1]
    return x @ weights + bias


def cross_entropy(logits: Any, y: Any) -> Any:
    """The mean over rows."""
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(y, logits.shape[-1]), -1))


class Fitted(NamedTuple):
    """Losses and accuracies after training, (settings, seeds) each."""

    loss: Any  # on all rows that were trained on
    test_loss: Any
    test_accuracy: Any


def at_once(calls: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
    """What calls of `fit` give, by name, a thread a core: one is compiled while another trains."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(calls, pool.map(lambda call: call(), calls.values()), strict=True))


def fit(
    optimizer: Callable[[Any], Optimizer],
    settings: Any,
    rows: Rows,
    *,
    steps: int,
    batch_size: int,
    seeds: int,
    hidden: int = 32,
    start: float = 1.0,
    seed: int = 0,
) -> Fitted:
    """Train a network of one hidden layer with every setting, mapped over settings and seeds as one program.

    Args:
        optimizer: Of one setting.
        settings: A tree of arrays (settings, …): what `optimizer` is given one of.
        rows: The data.
        steps: How many.
        batch_size: Rows a step, drawn anew each time; the same for all settings.
        seeds: Starts and orders.
        hidden: Units.
        start: How many times as large as usual the weights are at the start.
        seed: Of those.
    """
    rng = np.random.default_rng(seed)
    sizes = rows.x.shape[1], hidden, CLASSES

    def begun() -> list[tuple[Any, Any]]:
        return [(start * weights, bias) for weights, bias in network(sizes, rng)]

    starts = jax.tree.map(lambda *layers: jnp.stack(layers), *(begun() for _ in range(seeds)))
    orders = jnp.asarray(rng.integers(0, len(rows.x), (seeds, steps, batch_size)))
    is_full = batch_size >= len(rows.x)

    def run(setting, layers, order, rows):  # the data are arguments: XLA takes long over constants
        def gradient(layers, chosen):
            x, y = (rows.x, rows.y) if is_full else (rows.x[chosen], rows.y[chosen])
            return jax.grad(lambda layers: cross_entropy(outputs(layers, x), y))(layers)

        end = descend(optimizer(setting), gradient, layers, order, keep=False)[0]
        test = outputs(end, rows.test_x)
        right = jnp.mean(jnp.argmax(test, -1) == rows.test_y)
        return Fitted(cross_entropy(outputs(end, rows.x), rows.y), cross_entropy(test, rows.test_y), right)

    over_seeds = jax.vmap(run, in_axes=(None, 0, 0, None))
    over_settings = jax.jit(jax.vmap(over_seeds, in_axes=(0, None, None, None)), compiler_options=fast_compilation())
    return Fitted(*map(np.asarray, over_settings(settings, starts, orders, Rows(*map(jnp.asarray, rows)))))
