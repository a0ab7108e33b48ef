"""What an optimizer does with a gradient that is not finite."""

from typing import Any

NONFINITE = ("propagate", "skip", "raise")


def check_nonfinite(name: str, value: Any) -> str:
    """`value`, if it is one of `NONFINITE`; else a TypeError or ValueError that names the argument."""
    accepted = f"{name} must be one of {', '.join(map(repr, NONFINITE))}. Received: {name}={value!r}"
    if not isinstance(value, str):
        raise TypeError(accepted)
    if value not in NONFINITE:
        raise ValueError(accepted)
    return value


def not_finite(parameter: str, step: int) -> FloatingPointError:
    """What `"raise"` raises."""
    return FloatingPointError(
        f"the gradient of {parameter} is not finite in step {step}: parameters and moments are as they were before it"
    )
