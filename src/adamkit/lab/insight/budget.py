"""What a budget of settings buys: how good the best of k would have been, had only k of those trained been tried."""

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln


def best_of(values: Sequence[float] | np.ndarray, k: int, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of the smallest of k values drawn without replacement, computed exactly from all of them.

    Args:
        values: (n,) what each setting reached; small is good. NaN counts as infinite.
        k: How many are drawn, 1 <= k <= n.
        shares: Of the draws, each > 0 and < 1.

    Returns:
        For each share the value that the smallest of k is at most, in that share of draws.

    Notes:
        Of n values in order the smallest of k is beyond the i-th with probability C(n − i, k) / C(n, k). Quantiles
        rather than the expectation (Dodge et al. 2019, arXiv:1909.03004), which one diverging setting makes infinite.

    Example:
        >>> best_of([3.0, 1.0, 2.0, 4.0], 4, [0.5]).tolist(), best_of([3.0, 1.0, 2.0, 4.0], 1, [0.5]).tolist()
        ([1.0], [2.0])
    """
    values = np.asarray(values, float)
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    n = len(ordered)
    beyond = n - np.arange(1, n + 1)  # values larger than the i-th
    with np.errstate(divide="ignore", invalid="ignore"):
        log = gammaln(beyond + 1) - gammaln(beyond - k + 1) - (gammaln(n + 1) - gammaln(n - k + 1))
    at_most = 1 - np.where(beyond >= k, np.exp(log), 0.0)
    return ordered[np.searchsorted(at_most, np.asarray(shares) - 1e-12)]
