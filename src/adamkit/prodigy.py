"""The learning rate, found while training: Prodigy (Mishchenko and Defazio 2023, arXiv:2306.06101, Algorithm 4).

d is an estimate from below of how far the start is from a solution. It begins small and only grows. A step is Adam's
with the learning rate d, on d·g, with d·ε in place of ε. Beside m and v two arrays are kept: the start, θ₀, and s, a
weighted sum of gradients.
"""

from typing import Any, NamedTuple

Array = Any
Scalar = Any

START = 1e-6  # d₀
REFUSED = {  # switches of `adamkit.variants` that it does not go with, and why
    "rectified": "its steps do not follow from d times the gradient",
    "adopt": "its steps do not follow from d times the gradient",
    "schedule_free": "its average has no place in the estimate",
}


class Estimate(NamedTuple):
    """What is kept of a group besides arrays."""

    distance: Scalar = START  # d
    agreement: Scalar = 0.0  # r, the weighted sum of ⟨g, θ₀ - θ⟩


def weight(distance: Scalar, correction: Scalar) -> Scalar:
    """What g counts in r and s: d²·√(1 - β₂ᵗ)/(1 - β₁ᵗ), in units of d₀.

    Args:
        distance: d before the step.
        correction: √(1 - β₂ᵗ)/(1 - β₁ᵗ), of both moments' bias; 1 without bias correction.
    """
    return distance / START * distance * correction


def advanced(estimate: Estimate, agreement: Scalar, size: Scalar, root: Scalar, xp: Any = None) -> Estimate:
    """The estimate after a step, whose size it is not yet.

    Args:
        estimate: That before it.
        agreement: The weight times ⟨g, θ₀ - θ⟩, over all parameters.
        size: ‖s‖₁, over all parameters, with this g in it.
        root: √β₂, by which what was before is forgotten.
        xp: The array namespace of a traced step; None for Python numbers.
    """
    total = root * estimate.agreement + agreement
    if xp is None:
        found = total / size if size > 0 else 0.0
        return Estimate(max(estimate.distance, found), total)
    found = total / xp.where(size > 0, size, 0.0 * size + 1.0)
    return Estimate(xp.maximum(estimate.distance, found), total)
