"""Data that are harder to generalize from: fewer rows, and labels that are wrong."""

from dataclasses import replace

import numpy as np

from adamkit.lab.data.datasets import Dataset
from adamkit.lab.data.splits import take
from adamkit.lab.errors import InputError


def some_rows(dataset: Dataset, rows: int, seed: int = 0) -> Dataset:
    """Rows of a data set, drawn at random, in their order.

    Args:
        dataset: What to take them of.
        rows: How many, from 1 to all.
        seed: Of which rows.

    Raises:
        InputError: There are not as many.
    """
    if not 1 <= rows <= len(dataset):
        raise InputError(f"train_size must be from 1 to {len(dataset)}, the rows to train on. Received: {rows}")
    return take(dataset, np.sort(np.random.default_rng(seed).permutation(len(dataset))[:rows]))


def with_label_noise(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """A data set with another label, drawn at random, on some of its rows.

    Args:
        dataset: Of classes.
        share: Of the rows, 0 <= share <= 1, to the nearest row.
        seed: Of which rows, and of their labels.

    Raises:
        InputError: The share is out of range, or the target is a number.

    Example:
        >>> from adamkit.lab.data import load
        >>> wine = load("wine")
        >>> noisy = with_label_noise(wine, 0.5)
        >>> int((noisy.y != wine.y).sum()), len(wine)
        (89, 178)
    """
    if not 0 <= share <= 1:
        raise InputError(f"label_noise must be from 0 to 1. Received: {share:g}")
    if dataset.classes is None:
        raise InputError(f"label_noise must be 0 for a number to predict. Received: {share:g} for {dataset.name}")
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(dataset))[: round(share * len(dataset))]
    y = dataset.y.copy()
    others = generator.integers(1, dataset.classes, len(rows))
    y[rows] = (y[rows].astype(int) + others) % dataset.classes
    return replace(dataset, y=y)
