"""Whether the best setting lies on the border of a space, and the space with that border moved out.

The best learning rate of a space says little if it is the largest one that was tried: the best may lie beyond (Choi et
al. 2019, section 4). It lies on the border if it is in the outer tenth of the range, or the first or last of those
that were tried. Other hyperparameters matter less, so that a good setting has any value of them: of these the three
best settings must lie in the outer fifth, all at the same end, which chance alone does once in some 60 times.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from adamkit.lab.comparing.optimizers import Optimizer
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.sweeping.spaces import Range, Setting

RATE_EDGE, EDGE, BEST = 0.1, 0.2, 3
STEPS = {"learning_rate": 1.0}  # decades that a border is moved out; of the others half a decade
HALF = 0.5
FEWEST = 4  # settings that a border can be told from
_MOST_DECAY = 1 - 1e-6


def borders(space: Mapping[str, Range], places: Sequence[Setting], values: np.ndarray) -> dict[str, str]:
    """The hyperparameters whose best values lie on the border of a space.

    Args:
        space: The range of each.
        places: Of the settings in the space.
        values: (settings,) what is to be small; not finite where a setting diverged.

    Returns:
        By name: `"low"` or `"high"`, the end at which they lie. Empty where nothing was learned.

    Example:
        >>> space = {"learning_rate": Range(1e-3, 1e-1)}
        >>> rates = [{"learning_rate": rate} for rate in (0.001, 0.004, 0.02, 0.09)]
        >>> borders(space, rates, np.array([3.0, 2.0, 1.0, 0.5]))
        {'learning_rate': 'high'}
    """
    order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
    if len(order) < FEWEST or not np.isfinite(values[order[0]]):
        return {}
    found = {}
    for name, limits in space.items():
        is_rate = name == "learning_rate"
        all_shares = np.array([_share(name, limits, place[name]) for place in places])
        low, high = (RATE_EDGE, 1 - RATE_EDGE) if is_rate else (EDGE, 1 - EDGE)
        if is_rate:
            low, high = max(low, all_shares.min()), min(high, all_shares.max())
        shares = all_shares[order[: 1 if is_rate else BEST]]
        if shares.max() <= low:
            found[name] = "low"
        elif shares.min() >= high:
            found[name] = "high"
    return {name: end for name, end in found.items() if _moved(name, space[name], end) != space[name]}


def widened(optimizer: Optimizer, ends: Mapping[str, str]) -> Optimizer:
    """The optimizer with these borders of its space moved out: the learning rate's by a decade, others by half one."""
    space = {name: _moved(name, limits, ends.get(name, "")) for name, limits in optimizer.space.items()}
    return dataclasses.replace(optimizer, space=space)


def _share(name: str, limits: Range, value: float) -> float:
    """Where a value lies between the ends of its range: 0 to 1."""
    low, high, here = HYPERPARAMETERS[name].position([limits.low, limits.high, value], limits.scale)
    return float((here - low) / (high - low))


def _moved(name: str, limits: Range, end: str) -> Range:
    known = HYPERPARAMETERS[name]
    step = STEPS.get(name, HALF)
    low, high = known.position([limits.low, limits.high], limits.scale)
    if limits.scale == "linear" or (limits.scale is None and known.scale == "linear"):
        step *= (high - low) / 2
    if end == "low":
        bottom = max(float(known.at(low - step, limits.scale)), known.minimum)
        return dataclasses.replace(limits, low=bottom)
    if end == "high":
        top = min(float(known.at(high + step, limits.scale)), known.maximum, _MOST_DECAY if known.is_decay else np.inf)
        return dataclasses.replace(limits, high=max(top, limits.high))
    return limits
