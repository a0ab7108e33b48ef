"""Whether optimizers were tuned enough: one that contains another cannot lose to it.

Adam with a large ε is momentum (its second moment no longer counts), so the best of all of Adam's settings is at least
as good as the best of momentum's. If it loses in a comparison, then its settings were too few or its space was wrong
(Choi et al. 2019, "On Empirical Comparisons of Optimizers for Deep Learning", arXiv:1910.05446).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamkit.lab.comparing.statistics import band, resampled_means

LARGE = 1e4  # times the root of a second moment of 1: a step of Adam is then momentum's, to 1e-4 of it
_RESAMPLES = 2000


@dataclass(frozen=True)
class Check:
    """The best setting of one optimizer, trained by another that contains it.

    Attributes:
        smaller: The optimizer that is contained.
        larger: The one that contains it.
        setting: What the larger was given.
        of_smaller: What the smaller's best reaches on the test part, with each seed.
        of_larger: What the larger's own best reaches.
        moved: What the larger reaches with `setting`.
    """

    smaller: str
    larger: str
    setting: dict[str, Any]
    of_smaller: list[float]
    of_larger: list[float]
    moved: list[float]

    def in_words(self, *, is_large_good: bool = False) -> str:
        """Whether the larger family loses to the smaller one, and so was tuned too little."""
        sign = -1.0 if is_large_good else 1.0
        smaller, larger, moved = (sign * np.array(values) for values in (self.of_smaller, self.of_larger, self.moved))
        figures = (
            f"{self.larger} reaches {_figure(self.of_larger)} with its own best setting and {_figure(self.moved)} with "
            f"{self.smaller}'s, {self.smaller} {_figure(self.of_smaller)}"
        )
        if not np.isfinite(larger).all() or _is_behind(larger, smaller):
            return f"{self.larger} contains {self.smaller} and loses to it, so that tuning was at fault: {figures}"
        if _is_behind(larger, moved):
            return (
                f"{self.larger} does better with {self.smaller}'s setting than with the best of its own, so that "
                f"tuning was at fault: {figures}"
            )
        return f"{self.larger} contains {self.smaller} and does not lose to it: {figures}"


def _is_behind(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether ours are worse beyond the luck of seeds: the bands of their means do not overlap."""
    if not np.isfinite(theirs).all():
        return False
    low, _ = band(resampled_means(ours, _RESAMPLES, 0))
    _, high = band(resampled_means(theirs, _RESAMPLES, 0))
    return bool(low > high)


def _figure(values: list[float]) -> str:
    return f"{np.mean(values):.4g}"


def momentum_in_adam(momentum: Mapping[str, Any], adam: Mapping[str, Any]) -> dict[str, Any]:
    """Adam's setting whose steps are those of momentum.

    Momentum's step is η times the sum of past gradients, each weighted by a power of μ: η / (1 - μ) times their mean.
    Adam's for a large ε is η / ε times that mean. What differs is Adam's bias correction: momentum begins with steps
    that are 1 - μᵗ as long. A warm-up over 1.5 / (1 - μ) steps comes close to that.
    """
    longest = 1 / (1 - momentum["momentum"])
    return dict(adam) | {
        "learning_rate": momentum["learning_rate"] * longest * LARGE,
        "epsilon": LARGE,
        "beta_1": momentum["momentum"],
        "beta_2": 0.999,
        "warmup_steps": round(1.5 * longest),
    }


def adam_in_amsgrad(adam: Mapping[str, Any], amsgrad: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers: where the second moment does not fall, AMSGrad is Adam."""
    return {name: adam[name] for name in amsgrad}


CHECKS = (("momentum", "adam", momentum_in_adam), ("adam", "amsgrad", adam_in_amsgrad))
