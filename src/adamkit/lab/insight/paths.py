"""The paths of other optimizers on a landscape, each with a learning rate of its own, to put beside Adam's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from adamkit.lab.insight.experiments.optimizers import descend, of_optax
from adamkit.lab.insight.landscapes import Landscape

RATES = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 2, 5))
OTHERS = {
    "SGD": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "AdaGrad": optax.adagrad,
    "RMSProp": optax.rmsprop,
}


class Path(NamedTuple):
    """Where an optimizer went.

    Attributes:
        name: The optimizer.
        learning_rate: Its learning rate.
        points: (steps + 1, 2) x and y, the start first.
    """

    name: str
    learning_rate: float
    points: NDArray


def others(landscape: Landscape, start: tuple[float, float], steps: int) -> list[Path]:
    """The paths of SGD, momentum, AdaGrad and RMSProp (optax's), each with the best of `RATES`.

    The best is the one that ends lowest among those whose path stays within the landscape's window, since where a
    function has no least value the largest rate always ends lowest; among all that end anywhere, if none stays.

    Args:
        landscape: The function.
        start: x and y before the first step.
        steps: How many.
    """
    low_x, high_x, low_y, high_y = landscape.window
    begin = jnp.asarray(start, jnp.float32)

    def gradient(point, _):
        return jnp.stack([jnp.asarray(part) for part in landscape.gradient(point[0], point[1])])

    found = []
    for name, optimizer in OTHERS.items():

        def path(rate, optimizer=optimizer):
            return descend(of_optax(optimizer(rate)), gradient, begin, steps)[1]

        paths = np.asarray(jax.jit(jax.vmap(path))(jnp.asarray(RATES)), np.float64)  # (rates, steps, 2)
        x, y = paths[..., 0], paths[..., 1]
        stays = ((low_x <= x) & (x <= high_x) & (low_y <= y) & (y <= high_y)).all(axis=1)
        with np.errstate(all="ignore"):  # a path that has left the numbers
            ends = np.asarray(landscape.value(x[:, -1], y[:, -1]))
        ends = np.where(np.isfinite(ends), ends, np.inf)
        best = int(np.where(stays, ends, np.inf).argmin() if stays.any() else ends.argmin())
        found.append(Path(name, RATES[best], np.concatenate([np.asarray(start)[None], paths[best]])))
    return found
