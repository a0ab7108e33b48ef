"""What a budget of settings buys: how good the best of k would have been, had only k of those trained been tried.

All of it is exact: of n settings in their order, the best first, each subset of k is as likely as any other.

Sources: Dodge et al. 2019, "Show Your Work" (arXiv:1909.03004), the expected validation performance as a function of
the budget; Tang et al. 2020 (arXiv:2004.13705), that drawing without replacement, as here, is free of bias.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def budgets(n: int) -> list[int]:
    """1, 2, 4, … and n."""
    return sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n})


def chances_of_being_best(n: int, k: int) -> Values:
    """How likely each of n ranked settings is the best among k of them, drawn without replacement.

    Rank r (from 0) is the best if it is drawn and the other k - 1 are among the n - 1 - r behind it:
    C(n - 1 - r, k - 1) / C(n, k). From one rank to the next that is multiplied by (n - k - r) / (n - 1 - r).

    Returns:
        (n,), whose sum is 1.

    Example:
        >>> chances_of_being_best(3, 2).round(3).tolist()
        [0.667, 0.333, 0.0]
    """
    rank = np.arange(n - 1)
    following = np.maximum(n - k - rank, 0) / (n - 1 - rank)
    return np.cumprod(np.append(k / n, following), dtype=np.float64)


def expected_best(values: Values, ks: Sequence[int]) -> Values:
    """What the best of k settings is expected to reach.

    Args:
        values: (n, …) finite, of the settings, the best first: by these values, or by others, such as those on a
            validation part.
        ks: Budgets, 1 to n each.

    Returns:
        (len(ks), …).

    Example:
        >>> expected_best(np.array([1.0, 2.0, 3.0]), [1, 2, 3]).round(3).tolist()
        [2.0, 1.333, 1.0]
    """
    return np.stack([np.tensordot(chances_of_being_best(len(values), k), values, axes=1) for k in ks])


def best_of(values: Sequence[float] | np.ndarray, k: int, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of the smallest of k values drawn without replacement.

    Where settings may diverge: one that does makes the expectation infinite, and not the quantiles.

    Args:
        values: (n,) what each setting reached; small is good. NaN counts as infinite.
        k: How many are drawn, 1 <= k <= n.
        shares: Of the draws, each > 0 and < 1.

    Returns:
        For each share the value that the smallest of k is at most, in that share of draws.

    Example:
        >>> best_of([3.0, 1.0, 2.0, 4.0], 4, [0.5]).tolist(), best_of([3.0, 1.0, 2.0, 4.0], 1, [0.5]).tolist()
        ([1.0], [2.0])
    """
    values = np.asarray(values, float)
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    at_most = np.cumsum(chances_of_being_best(len(ordered), k))
    return ordered[np.searchsorted(at_most, np.asarray(shares) - 1e-12)]
