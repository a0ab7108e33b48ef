"""Parts of a data set to train, validate and test on, and features of zero mean and unit variance."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamkit.lab.data.datasets import Dataset, take
from adamkit.lab.errors import InputError, listed, nearest

METHODS = ("random", "last", "shuffled")
_STREAM = 1  # of the seed's random numbers: those that `load` shuffles with are others


class Parts(NamedTuple):
    """The rows of a data set, each in one part.

    Attributes:
        train: The rows to train on.
        validation: The rows to measure after each epoch and to choose by, or None.
        test: The rows that choose nothing, to measure once at the end, or None.
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    def map(self, change: Callable[[Dataset], Dataset]) -> "Parts":
        """`change` done to each part that there is."""
        train, *others = self
        return Parts(change(train), *(None if part is None else change(part) for part in others))


def partition(
    dataset: Dataset, validation: float = 0.0, test: float = 0.0, *, method: str = "random", seed: int = 0
) -> Parts:
    """The parts of `dataset` to train, validate and test on.

    Args:
        dataset: What to split.
        validation: 0 <= share < 1 of all rows to validate on.
        test: 0 <= share < 1 of all rows to test on.
        method: "random": rows drawn at random, and where the target has classes with the same share of each in every
            part, to about a row; a class with any rows has one to train on, where the training part is large enough.
            "last": the last rows to test on, and the last ones before them to validate on, as Keras takes them.
            "shuffled" is the same: it says that the rows were shuffled when they were loaded.
        seed: An integer >= 0, of the random rows. The same seed gives the same parts; the rows of a part keep their
            order.

    Returns:
        The parts: ⌊rows·(1 - share)⌋ rows are not in a part of that share, and all that are in neither are to train on.

    Raises:
        InputError: A share or `method` is out of range, or a part would be empty.

    Example:
        >>> from adamkit.lab import data
        >>> train, validation, test = partition(data.load("random"), 0.2, 0.1)
        >>> len(train), len(validation), len(test)
        (700, 200, 100)
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise InputError(f"the {name} split must be >= 0 and < 1. Received: {share:g}")
    if method not in METHODS:
        raise InputError(
            f"split must be one of {listed(METHODS)}. Received: split={method!r}.{nearest(method, METHODS)}"
        )
    rows = len(dataset)
    # As in keras/src/trainers/data_adapters/array_slicing.py
    sizes = [rows - math.floor(rows * (1.0 - share)) for share in (validation, test)]
    sizes = [rows - sum(sizes), *sizes]
    if sizes[0] < 1 or any(share and not size for share, size in zip((validation, test), sizes[1:], strict=True)):
        raise InputError(_empty_part(dataset, validation, test, sizes))
    if not validation and not test:
        return Parts(dataset)
    order = _random_order(dataset, seed) if method == "random" else np.arange(rows)
    chosen = np.split(order, np.cumsum(sizes)[:-1])
    train, *others = (take(dataset, np.sort(rows)) for rows in chosen)
    return Parts(train, *(part if len(part) else None for part in others))


def split(dataset: Dataset, fraction: float, *, method: str = "last", seed: int = 0) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and the last `fraction` of them, to validate on: the same rows as Keras takes.

    Args:
        dataset: What to split.
        fraction: 0 <= fraction < 1, the share of the rows to validate on.
        method: As in `partition`: "last" or "random".
        seed: As in `partition`.

    Returns:
        The training part, of ⌊rows·(1 - fraction)⌋ rows, and the validation part, or None where `fraction` is 0.

    Raises:
        InputError: `fraction` is out of range, or so small or large that one part would be empty.

    Example:
        >>> from adamkit.lab import data
        >>> train, validation = split(data.load("random"), 0.2)
        >>> len(train), len(validation)
        (800, 200)
    """
    return partition(dataset, fraction, method=method, seed=seed)[:2]


def _random_order(dataset: Dataset, seed: int) -> NDArray[np.integer]:
    """All rows at random, such that every stretch of them has each class in about its share.

    The n rows of a class lie 1/n apart on a line from 0 to 1, from a random place on; the first one is put at the
    very start.
    """
    rng = np.random.default_rng([seed, _STREAM])
    rows = len(dataset)
    shuffled = rng.permutation(rows)
    if dataset.target == "number":
        return shuffled
    place = np.empty(rows)
    for label in np.unique(dataset.y):
        own = shuffled[dataset.y[shuffled] == label]
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
        place[own[0]] = -1
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def _empty_part(dataset: Dataset, validation: float, test: float, sizes: list[int]) -> str:
    shares = [
        f"a {name} split of {share:g}"
        for name, share in (("validation", validation), ("test", test))
        if share or name == "validation"
    ]
    leaves = "leaves" if len(shares) == 1 else "leave"
    parts = [f"{max(sizes[0], 0)} of the {len(dataset)} rows of {dataset.name} to train on"]
    parts += [f"{sizes[1]} to validate on"] * (validation > 0 or test == 0) + [f"{sizes[2]} to test on"] * (test > 0)
    return f"{' and '.join(shares)} {leaves} {' and '.join(parts)}; each part needs one at least"


class Standardized(NamedTuple):
    """Data with standardized features, and what to do to new rows: `apply(x, mean, scale)`.

    Attributes:
        train: The training part; each feature has mean 0 and variance 1, or is 0 where it was constant.
        validation: The validation part, or None.
        mean: (…) float64, the mean of each feature over the rows of the training part.
        scale: (…) float64, its standard deviation there; 0 for a constant feature.
    """

    train: Dataset
    validation: Dataset | None
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


def standardize(train: Dataset, validation: Dataset | None = None) -> Standardized:
    """Give each feature zero mean and unit variance on the training part, and do the same to the validation part.

    Args:
        train: The rows that mean and variance are taken of, in float64.
        validation: Rows to which they are applied as they are.

    Returns:
        New data sets whose `standardize` is False, and the means and scales.

    Example:
        >>> from adamkit.lab import data
        >>> train, validation, mean, scale = standardize(*split(data.load("wine"), 0.2))
        >>> bool(np.abs(train.x.mean(axis=0)).max() < 1e-6)
        True
    """
    parts, mean, scale = standardize_parts(Parts(train, validation))
    return Standardized(parts.train, parts.validation, mean, scale)


class StandardizedParts(NamedTuple):
    """The parts with standardized features, and what `apply` takes: mean and scale, as in `Standardized`."""

    parts: Parts
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


def standardize_parts(parts: Parts, which: NDArray[np.bool_] | None = None) -> StandardizedParts:
    """Give each feature zero mean and unit variance on the training part, and do the same to the other parts.

    Args:
        parts: Mean and variance are those of `parts.train`, in float64.
        which: (…) the features to do this to; the others have mean 0 and scale 1. None: all.

    Returns:
        New data sets whose `standardize` is False, and the means and scales.

    Example:
        >>> from adamkit.lab import data
        >>> parts, mean, scale = standardize_parts(partition(data.load("wine"), 0.2, 0.2))
        >>> bool(np.abs(parts.train.x.mean(axis=0)).max() < 1e-6)
        True
    """
    x = parts.train.x
    low, high = x.min(axis=0), x.max(axis=0)
    mean = np.where(low == high, low, x.mean(axis=0, dtype=np.float64))
    # Not from the rounded mean: the scale of a constant would then be tiny instead of 0.
    scale = np.where(low == high, 0.0, np.sqrt(np.mean((x - mean) ** 2, axis=0)))
    if which is not None:
        mean, scale = np.where(which, mean, 0.0), np.where(which, scale, 1.0)
    applied = parts.map(lambda part: replace(part, x=apply(part.x, mean, scale), standardize=False))
    return StandardizedParts(applied, mean, scale)


def apply(x: NDArray, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """(x - mean) / scale in float64, and 0 where the scale is 0: new rows as a standardized model takes them.

    Args:
        x: (rows, …) features as they were before.
        mean: (…) from `standardize`.
        scale: (…) from `standardize`.

    Returns:
        (rows, …) float32; a value that float32 does not hold becomes the largest one that it holds.
    """
    constant = scale == 0
    largest = np.finfo(np.float32).max
    return (
        np.where(constant, 0.0, (x - mean) / np.where(constant, 1.0, scale)).clip(-largest, largest).astype(np.float32)
    )
