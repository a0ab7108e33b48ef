"""The figures of a comparison: pure functions of arrays.

Settings are ranked by what they reach on the validation part, the best first; values are what they reach on data that
chose nothing. All that is said of "the best of k settings" is exact: see `adamkit.lab.insight.budget`.

Source: Sivaprasad et al. 2020, "Optimizer Benchmarking Needs to Account for Hyperparameter Tuning" (arXiv:1910.11758),
that optimizers be ranked by what a budget of settings brings.
"""

import math
from collections.abc import Sequence

import numpy as np

from adamkit.lab.insight.budget import Values, chances_of_being_best


def chance_of_winning(ours: Values, theirs: Values, k: int) -> float:
    """How likely the best of k of our settings beats the best of k of theirs, with one seed; half of it for a tie.

    Args:
        ours: (n, seeds) what is to be small, the best on the validation part first. A setting that has one seed has
            the same value in each column.
        theirs: (m, seeds): the same seeds, so that runs from the same start with the same order of the data are
            compared with each other.
        k: The budget of both.

    Example:
        >>> chance_of_winning(np.array([[1.0], [4.0]]), np.array([[2.0], [3.0]]), 1)
        0.5
    """
    first, second = (chances_of_being_best(len(values), k) for values in (ours, theirs))
    a, b = ours[:, None, :], theirs[None, :, :]
    wins = np.mean((a < b) + 0.5 * (a == b), axis=2)
    return float(first @ wins @ second)


def resampled_best(
    values: Values, chosen_on: Values, repeated: int, ks: Sequence[int], resamples: int, seed: int
) -> Values:
    """What the best of k settings would be expected to reach with other seeds and another draw of settings.

    Each resample draws seeds with replacement, ranks the settings that were repeated anew by their means over these,
    and draws n of the n settings with replacement. With the same `seed` the seeds that are drawn are the same, so that
    optimizers that were trained with the same seeds are resampled together.

    Args:
        values: (n, seeds), the best on the validation part first; the same in each column where a setting was trained
            once.
        chosen_on: Likewise, what they reach on the validation part, which is to be small.
        repeated: How many, the first ones, were trained with all seeds. They stay before the others.
        ks: Budgets.
        resamples: How many.
        seed: Of the draws.

    Returns:
        (resamples, len(ks)).
    """
    n, seeds = values.shape
    generator = np.random.default_rng(seed)
    drawn_seeds = generator.integers(0, seeds, (resamples, seeds))
    drawn_settings = np.sort(generator.integers(0, n, (resamples, n)), axis=1)  # by rank: the best first
    chances = np.stack([chances_of_being_best(n, k) for k in ks])
    found = np.empty((resamples, len(ks)))
    for i in range(resamples):
        means = values[:, drawn_seeds[i]].mean(axis=1)
        validated = chosen_on[:repeated, drawn_seeds[i]].mean(axis=1)
        means[:repeated] = means[:repeated][np.argsort(validated, kind="stable")]
        found[i] = chances @ means[drawn_settings[i]]
    return found


def resampled_means(values: Values, resamples: int, seed: int) -> Values:
    """Means over seeds drawn with replacement, (resamples,) of (seeds,); the same seeds for the same `seed`."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    return values[drawn].mean(axis=1)


def percentiles(values: Values, population: Values) -> Values:
    """The share of a population that is better than a value with the same seed, in percent; half of it for a tie.

    Args:
        values: (seeds,) what is to be small; inf where a run diverged.
        population: (n, seeds) likewise.

    Returns:
        (seeds,): 0 is better than all, 100 worse than all.

    Example:
        >>> percentiles(np.array([2.5]), np.array([[1.0], [2.0], [3.0], [4.0]])).tolist()
        [50.0]
    """
    return 100 * np.mean((population < values) + 0.5 * (population == values), axis=0)


def interval(values: Values, level: float = 0.95) -> tuple[float, float]:
    """Where the mean of values such as these lies, by Student's t, which is wide for few of them; NaN for one.

    Example:
        >>> low, high = interval(np.array([1.0, 2.0, 3.0]))
        >>> round(low, 2), round(high, 2)
        (-0.48, 4.48)
    """
    from scipy.special import stdtrit

    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    half = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def band(resamples: Values, level: float = 0.95) -> tuple[Values, Values]:
    """The ends of the middle `level` of resamples, along the first axis."""
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def good_decades(rates: Values, values: Values, threshold: float) -> float:
    """How far the learning rates of settings that reach `threshold` lie apart, in decades; NaN where none does.

    Example:
        >>> good_decades(np.array([1e-3, 1e-2, 1e-1]), np.array([0.3, 0.2, 9.0]), 0.3)
        1.0
    """
    good = rates[values <= threshold]
    return float(np.log10(good.max() / good.min())) if len(good) else math.nan


def first_epoch_at(curves: Values, goal: float) -> Values:
    """(runs,) the first epoch, from 1, at which each of (runs, epochs) is at `goal` or below; inf where none is."""
    reached = curves <= goal
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def at_training_loss(training: Values, held_out: Values, level: float) -> float:
    """The held-out loss when the training loss first falls to `level`, interpolated between two epochs.

    Args:
        training: (epochs,) the training loss after each epoch.
        held_out: (epochs,) the held-out loss.
        level: A training loss.

    Returns:
        NaN where the training loss never falls so far.

    Example:
        >>> at_training_loss(np.array([1.0, 0.5]), np.array([1.2, 0.8]), 0.75)
        1.0
    """
    below = np.flatnonzero(training <= level)
    if not len(below):
        return math.nan
    last = int(below[0])
    if last == 0:
        return float(held_out[0])
    share = (training[last - 1] - level) / (training[last - 1] - training[last])
    return float(held_out[last - 1] + share * (held_out[last] - held_out[last - 1]))
