"""How much of what settings differ by each hyperparameter explains, alone and with another, and how sure that is.

The rank of a setting is taken to be a sum of a function of each hyperparameter and one of each two of them (functional
ANOVA: Hutter, Hoos and Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance"), and noise.
A function is a cosine series over the values that were tried, so that its variance is the sum of its squared
coefficients, as in Sobol's indices. How large the coefficients of each function are is not known beforehand: their
scale has a half-Cauchy prior, by which a function that is not needed vanishes and one that is needed is hardly made
smaller. Gibbs sampling (Makalic and Schmidt 2016, "A Simple Sampler for the Horseshoe Estimator") gives not one answer
but all that the settings allow.
"""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from threadpoolctl import threadpool_limits

Name = str | tuple[str, str]

_MOST_WAVES = 12  # of the series of one hyperparameter
_MOST_COEFFICIENTS = 200  # of all, unless each two hyperparameters have _FEWEST_WAVES · _FEWEST_WAVES
_FEWEST_WAVES = 3
_SAMPLES, _DROPPED = 500, 150
_SURE = (0.05, 0.95)


class Share(NamedTuple):
    """A share of the variance, 0 to 1."""

    mean: float
    low: float  # it is smaller with a chance of 5 %
    high: float  # and larger with a chance of 5 %


class Shares(NamedTuple):
    """Of what the settings differ by.

    Attributes:
        parts: What each hyperparameter explains alone, and what each two explain together beyond that.
        in_all: What each has a part in: half of the answers say more, half less.
        noise: What none of them explains.
    """

    parts: dict[Name, Share]
    in_all: dict[str, float]
    noise: Share


def shares(columns: Mapping[str, np.ndarray], ranks: np.ndarray) -> Shares:
    """The shares of two or more hyperparameters.

    Args:
        columns: (settings,) the values of each hyperparameter, of which there are two different ones at least.
        ranks: (settings,) of the objective, not all the same.
    """
    names = list(columns)
    pairs = list(itertools.combinations(names, 2))
    waves = {name: _waves(column) for name, column in columns.items()}
    room = max(_MOST_COEFFICIENTS - _MOST_WAVES * len(names), 0) / len(pairs)
    most = max(_FEWEST_WAVES, math.isqrt(int(room)))
    groups = [waves[name] for name in names] + [_products(waves[a], waves[b], most) for a, b in pairs]
    group_of = np.repeat(np.arange(len(groups)), [len(scales) for _, scales in groups])
    features = np.concatenate([values for values, _ in groups], axis=1)
    scales = np.concatenate([scales for _, scales in groups])
    with threadpool_limits(1, "blas"):  # threads that wait for their part of so small a matrix take longer than it
        sampled = _sampled(features - features.mean(axis=0), scales, group_of, ranks)
    sampled /= sampled.sum(axis=1, keepdims=True)

    def share(values: np.ndarray) -> Share:
        low, high = np.quantile(values, _SURE)
        return Share(float(values.mean()), float(low), float(high))

    keys: list[Name] = [*names, *pairs]
    has = {
        name: [i for i, key in enumerate(keys) if name == key or (isinstance(key, tuple) and name in key)]
        for name in names
    }
    return Shares(
        {key: share(sampled[:, place]) for place, key in enumerate(keys)},
        {name: float(np.median(sampled[:, places].sum(axis=1))) for name, places in has.items()},
        share(sampled[:, -1]),
    )


def _waves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines over the values in their order, orthogonal and of variance 1, and the prior scales of their squares."""
    different, place = np.unique(values, return_inverse=True)
    number = np.arange(1, min(len(different) - 1, _MOST_WAVES) + 1)
    return math.sqrt(2) * np.cos(np.pi * number * (place[:, None] + 0.5) / len(different)), 1 / number**2


def _products(one: tuple, other: tuple, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Each wave of one hyperparameter times each of another."""
    (a, scale_a), (b, scale_b) = ((waves[:, :most], scales[:most]) for waves, scales in (one, other))
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), np.outer(scale_a, scale_b).ravel()


def _sampled(features: np.ndarray, scales: np.ndarray, group_of: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """(samples, groups + 1): the variance of each group's function, and that of the noise."""
    target = (ranks - ranks.mean()) / ranks.std()
    gram, moments, rows = features.T @ features, features.T @ target, len(target)
    sizes = np.bincount(group_of)
    rng = np.random.default_rng(0)
    variance, auxiliary, noise = np.full(len(sizes), 0.1), np.ones(len(sizes)), 0.5
    found = []
    for _ in range(_SAMPLES):
        precision = gram / noise
        precision[np.diag_indices_from(precision)] += 1 / (scales * variance[group_of])
        root = np.linalg.cholesky(precision)
        half = solve_triangular(root, moments / noise, lower=True, check_finite=False)
        half += rng.standard_normal(len(scales))
        coefficients = solve_triangular(root, half, lower=True, trans=1, check_finite=False)
        squares = rows - 2 * coefficients @ moments + coefficients @ gram @ coefficients  # of what is left
        noise = (max(squares, 0.0) / 2 + 1e-3) / rng.gamma(rows / 2)
        spread = np.bincount(group_of, coefficients**2 / scales)
        variance = np.maximum((1 / auxiliary + spread / 2) / rng.gamma((sizes + 1) / 2), 1e-10)
        auxiliary = (1 + 1 / variance) / rng.gamma(np.ones(len(sizes)))
        found.append([*np.bincount(group_of, coefficients**2), noise])
    return np.array(found[_DROPPED:])
