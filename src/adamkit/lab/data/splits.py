"""Parts of a data set to train and to validate on, and features of zero mean and unit variance."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamkit.lab.data.datasets import Dataset
from adamkit.lab.errors import InputError


def split(dataset: Dataset, fraction: float) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and the last `fraction` of them, to validate on: the same rows as Keras takes.

    Args:
        dataset: What to split.
        fraction: 0 <= fraction < 1, the share of the rows to validate on.

    Returns:
        The training part, of ⌊rows·(1 - fraction)⌋ rows, and the validation part, or None where `fraction` is 0.

    Raises:
        InputError: `fraction` is out of range, or so small or large that one part would be empty.

    Example:
        >>> train, validation = split(load("random"), 0.2)
        >>> len(train), len(validation)
        (800, 200)
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the validation split must be >= 0 and < 1. Received: {fraction:g}")
    if fraction == 0:
        return dataset, None
    rows = len(dataset)
    boundary = math.floor(rows * (1.0 - fraction))  # as in keras/src/trainers/data_adapters/array_slicing.py
    if boundary in (0, rows):
        raise InputError(
            f"a validation split of {fraction:g} leaves {boundary} of the {rows} rows of {dataset.name} to train on "
            f"and {rows - boundary} to validate on; each part needs one at least"
        )
    return (
        replace(dataset, x=dataset.x[:boundary], y=dataset.y[:boundary]),
        replace(dataset, x=dataset.x[boundary:], y=dataset.y[boundary:]),
    )


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
        >>> train, validation, mean, scale = standardize(*split(load("wine"), 0.2))
        >>> bool(np.abs(train.x.mean(axis=0)).max() < 1e-6)
        True
    """
    low, high = train.x.min(axis=0), train.x.max(axis=0)
    mean = np.where(low == high, low, train.x.mean(axis=0, dtype=np.float64))
    # Not from the rounded mean: the scale of a constant would then be tiny instead of 0.
    scale = np.where(low == high, 0.0, np.sqrt(np.mean((train.x - mean) ** 2, axis=0)))

    def applied(dataset: Dataset) -> Dataset:
        return replace(dataset, x=apply(dataset.x, mean, scale), standardize=False)

    return Standardized(applied(train), None if validation is None else applied(validation), mean, scale)


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
