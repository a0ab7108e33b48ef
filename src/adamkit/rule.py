"""Adam's update rule: the one place where the formula stands.

Kingma and Ba, "Adam: A Method for Stochastic Optimization" (ICLR 2015, arXiv:1412.6980), Algorithm 1. Everything here
is a pure function of arrays and numbers, written for any array namespace that has `sqrt`, `maximum`, `where` and
`expm1`: NumPy, `jax.numpy`, `keras.ops`, PyTorch. The caller decides the dtype; see `docs/architecture.md`.
"""

import math
import numbers
from typing import Any, NamedTuple

Array = Any
Scalar = Any  # a Python float, or a 0-d array where a framework traces the number


class Decay(NamedTuple):
    """One β in the three forms that the rule needs, each rounded once from the exact value.

    float32 has no good 0.999: it is off by 1.3e-8, which is 1.3e-5 of 1 - β₂, and a float32 log or power of it is off
    by as much again. So 1 - β and log β are taken in float64, beforehand.
    """

    beta: Scalar
    complement: Scalar  # 1 - β
    log: Scalar  # log β

    @classmethod
    def of(cls, beta: float) -> "Decay":
        """The decay of a Python number 0 <= β < 1."""
        return cls(beta, 1.0 - beta, math.log(beta) if beta > 0 else -math.inf)


class Coefficients(NamedTuple):
    """The numbers of one step: the same for every element of every parameter."""

    first_decay: Decay
    second_decay: Decay
    step_size: Scalar  # η·√(1 - β₂ᵗ) / (1 - β₁ᵗ)
    epsilon: Scalar  # ε·√(1 - β₂ᵗ), or ε̂
    shrinkage: Scalar  # η·λ, decoupled weight decay
    penalty: Scalar  # λ, coupled weight decay (L2)
    adaptive: bool = True  # whether a step is divided by √v̂ + ε


class Update(NamedTuple):
    """What one step makes of a parameter and its moments; all have the parameter's shape."""

    parameter: Array
    first_moment: Array
    second_moment: Array
    max_second_moment: Array | None  # AMSGrad only


def bias_correction(step: Scalar, decay: Decay, xp: Any = math) -> Scalar:
    """1 - βᵗ for step t >= 1, as -expm1(t·log β): no digit is lost for β near 1 or for any t up to 10⁹."""
    return -xp.expm1(step * decay.log)


def coefficients(
    step: Scalar,
    learning_rate: Scalar,
    first_decay: Decay,
    second_decay: Decay,
    epsilon: Scalar,
    weight_decay: Scalar = 0.0,
    *,
    epsilon_hat: bool = False,
    decoupled: bool = True,
    bias_correction: bool = True,
    adaptivity: bool = True,
    xp: Any = math,
) -> Coefficients:
    """The numbers of step t >= 1.

    η·m̂ / (√v̂ + ε) is computed in the form just before Section 2.1 of the paper, which leaves one division and one
    square root an element: (η·√(1 - β₂ᵗ)/(1 - β₁ᵗ))·m / (√v + ε̂), with ε̂ = ε·√(1 - β₂ᵗ) exactly where Algorithm 1
    has ε. With `epsilon_hat` the given ε is that ε̂, as in Keras and TensorFlow.

    Two parts of the rule can be left out, to see what they are for; a third is left out by β₁ = 0. Without
    `bias_correction` m̂ = m and v̂ = v. Without `adaptivity` the step is η·m̂: gradient descent with momentum, in which
    neither β₂ nor ε nor AMSGrad has a part.
    """
    root, correction = _corrections(step, first_decay, second_decay, xp) if bias_correction else (1.0, 1.0)
    if not adaptivity:
        root = 1.0
    return Coefficients(
        first_decay,
        second_decay,
        step_size=learning_rate * root / correction,
        epsilon=epsilon if epsilon_hat else epsilon * root,
        shrinkage=learning_rate * weight_decay if decoupled and not _is_zero(weight_decay) else 0.0,
        penalty=0.0 if decoupled else weight_decay,
        adaptive=adaptivity,
    )


def update(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    max_second_moment: Array | None,
    k: Coefficients,
    xp: Any,
) -> Update:
    """One step of Algorithm 1, on arrays of one shape and one dtype (float32 or float64).

    AMSGrad (Reddi et al. 2018, arXiv:1904.09237, Algorithm 2) is the same step with the largest v so far below the
    root: it is on where `max_second_moment` is given. Decoupled weight decay: Loshchilov and Hutter 2019,
    arXiv:1711.05101, Algorithm 2.
    """
    if not _is_zero(k.penalty):
        gradient = gradient + k.penalty * parameter
    m = moving_average(first_moment, gradient, k.first_decay, xp)  # β₁·m + (1 - β₁)·g
    if not k.adaptive:
        change = k.step_size * m  # η·m̂
        if not _is_zero(k.shrinkage):
            change = change + k.shrinkage * parameter
        return Update(parameter - change, m, second_moment, max_second_moment)
    v = moving_average(second_moment, gradient * gradient, k.second_decay, xp)  # β₂·v + (1 - β₂)·g²
    if max_second_moment is not None:
        max_second_moment = xp.maximum(max_second_moment, v)
    scale = v if max_second_moment is None else max_second_moment
    change = k.step_size * m / (xp.sqrt(scale) + k.epsilon)  # η·m̂ / (√v̂ + ε)
    if not _is_zero(k.shrinkage):
        change = change + k.shrinkage * parameter
    return Update(parameter - change, m, v, max_second_moment)


def moving_average(average: Array, value: Array, decay: Decay, xp: Any) -> Array:
    """β·average + (1 - β)·value, with one rounding of the size of the result.

    It goes from the end that has the larger weight, so that only the small correction is rounded twice, and β itself
    is not rounded to the array's dtype.
    """
    difference = value - average
    if isinstance(decay.beta, float):
        return average + decay.complement * difference if decay.beta >= 0.5 else value - decay.beta * difference
    return xp.where(decay.beta >= 0.5, average + decay.complement * difference, value - decay.beta * difference)


def check_number(name: str, value: Any, *, below: float = math.inf) -> float:
    """`value` as a float, if it is a finite number with 0 <= value < below.

    Args:
        name: What the user calls it; the error says so.
        value: What the user gave.
        below: The number must be smaller than this.

    Raises:
        TypeError: `value` is no number.
        ValueError: it is out of range.
    """
    accepted = f"a finite number >= 0 and < {below:g}" if math.isfinite(below) else "a finite number >= 0"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {accepted}. Received: {name}={value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be {accepted}. Received: a whole number that is larger than any float") from None
    if not 0 <= number < below:
        raise ValueError(f"{name} must be {accepted}. Received: {name}={value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """`value`, if it is True or False; TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False. Received: {name}={value!r} of type {type(value).__name__}")
    return value


def _corrections(step: Scalar, first: Decay, second: Decay, xp: Any) -> tuple[Scalar, Scalar]:
    """√(1 - β₂ᵗ) and 1 - β₁ᵗ."""
    return xp.sqrt(bias_correction(step, second, xp)), bias_correction(step, first, xp)


def _is_zero(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and value == 0
