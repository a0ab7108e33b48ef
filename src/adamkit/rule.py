"""Adam's update rule: the one place where the formula stands.

Kingma and Ba, "Adam: A Method for Stochastic Optimization" (ICLR 2015, arXiv:1412.6980), Algorithm 1. Everything here
is a pure function of arrays and numbers, written for any array namespace that has `sqrt`, `maximum`, `minimum`,
`where`, `sign`, `sum` and `expm1`: NumPy, `jax.numpy`, `keras.ops`, PyTorch. The caller decides the dtype; see
`docs/architecture.md`.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

from adamkit.variants import ADAM, Variant, momentum_schedule, rectification

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
    root_epsilon: Scalar = 0.0  # what is added to v below the root, bias-corrected as v is
    variant: Variant = ADAM
    gradient_share: Scalar = 0.0  # of g beside `step_size` of m, with `nesterov`
    root_share: Scalar = 1.0  # with `rectified`: 0 in the first steps, which are not divided by √v̂ + ε
    clip: Scalar = 0.0  # with `adopt`: the bound of g/√v
    gradient_scale: Scalar = 1.0  # what g is multiplied by, by whoever calls `update`
    averaging: Scalar = 0.0  # with `schedule_free`: c, the weight of this step's z in the average x


class Update(NamedTuple):
    """What one step makes of a parameter and its moments; all have the parameter's shape, v that of its blocks."""

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
    root_epsilon: Scalar = 0.0,
    variant: Variant = ADAM,
    averaging: Scalar = 0.0,
    momentum_decay: float | None = None,
    xp: Any = math,
) -> Coefficients:
    """The numbers of step t >= 1.

    η·m̂ / (√v̂ + ε) is computed in the form just before Section 2.1 of the paper, which leaves one division and one
    square root an element: (η·√(1 - β₂ᵗ)/(1 - β₁ᵗ))·m / (√v + ε̂), with ε̂ = ε·√(1 - β₂ᵗ) exactly where Algorithm 1
    has ε. With `epsilon_hat` the given ε is that ε̂, as in Keras and TensorFlow.

    Two parts of the rule can be left out, to see what they are for; a third is left out by β₁ = 0. Without
    `bias_correction` m̂ = m and v̂ = v. Without `adaptivity` the step is η·m̂: gradient descent with momentum, in which
    neither β₂ nor ε nor AMSGrad has a part.

    `root_epsilon` is optax's ε̄ in √(v̂ + ε̄). `variant` must be one that `variants.check` accepts. `averaging`, for
    `schedule_free`, is what the function of that name gives. `momentum_decay` is ψ of NAdam's schedule.
    """
    corrected = bias_correction and not variant.adopt
    root, correction = _corrections(step, first_decay, second_decay, xp) if corrected else (1.0, 1.0)
    if not adaptivity:
        root = 1.0
    k = Coefficients(
        first_decay,
        second_decay,
        step_size=learning_rate * root / correction,
        epsilon=epsilon if epsilon_hat else epsilon * root,
        shrinkage=learning_rate * weight_decay if decoupled and not _is_zero(weight_decay) else 0.0,
        penalty=0.0 if decoupled else weight_decay,
        adaptive=adaptivity,
        root_epsilon=0.0 if _is_zero(root_epsilon) else root_epsilon * root * root,
        variant=variant,
    )
    if variant.nesterov:
        k = _looking_ahead(k, step, learning_rate * root, momentum_decay, corrected, xp)
    if variant.rectified:
        k = _rectified(k, step, root, xp)
    if variant.adopt:  # c_t = t^¼, where the first step, which only sets v to g², is step 0
        k = k._replace(second_decay=_from_the_second(step, second_decay, xp), clip=(step - 1) ** 0.25)
    if variant.schedule_free:  # its steps are of g, which needs no correction; of a step of z y takes 1 - β₁
        k = k._replace(step_size=learning_rate * root * first_decay.complement, averaging=averaging)
        if not _is_zero(k.shrinkage):
            k = k._replace(shrinkage=k.shrinkage * first_decay.complement)
    return k


class Change(NamedTuple):
    """What is taken from a parameter in one step, and its new moments."""

    change: Array
    first_moment: Array
    second_moment: Array
    max_second_moment: Array | None


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

    With `blockwise` v has 1 for the axes along which a block shares it; see `adamkit.blockwise`.

    AMSGrad (Reddi et al. 2018, arXiv:1904.09237, Algorithm 2) is the same step with the largest v so far below the
    root: it is on where `max_second_moment` is given. Decoupled weight decay: Loshchilov and Hutter 2019,
    arXiv:1711.05101, Algorithm 2.
    """
    new = change_of(parameter, gradient, first_moment, second_moment, max_second_moment, k, xp)
    return Update(parameter - new.change, *new[1:])


def change_of(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    max_second_moment: Array | None,
    k: Coefficients,
    xp: Any,
    *,
    size: Array | None = None,
) -> Change:
    """What `update` takes from the parameter. Of complex numbers v is the mean of |g|², and `size` is |g|."""
    if not _is_zero(k.penalty):
        gradient = gradient + k.penalty * parameter
    if size is not None:
        size = bounded(size, k.second_decay, xp)
    elif k.adaptive:
        gradient = bounded(gradient, k.second_decay, xp)
    averaged = _normalized(gradient, second_moment, k, xp) if k.variant.adopt else gradient
    m = averaged  # schedule-free: a step of z is η·g/√v̂
    if not k.variant.schedule_free:
        m = moving_average(first_moment, averaged, k.first_decay, xp)  # β₁·m + (1 - β₁)·g
    change = k.step_size * m  # η·m̂
    if k.variant.nesterov:
        change = change + k.gradient_share * averaged
    v = second_moment
    if k.adaptive:
        size, in_blocks = gradient if size is None else size, k.variant.blockwise
        v = second_average(second_moment, size, k.second_decay, xp, in_blocks)  # β₂·v + (1 - β₂)·g²
        if max_second_moment is not None:
            max_second_moment = xp.maximum(max_second_moment, v)
        if not k.variant.adopt:
            change = change / divisor(v if max_second_moment is None else max_second_moment, k, xp)
    if k.variant.cautious:  # a step goes against the gradient or not at all; NaN stays
        change = xp.where(change * xp.sign(gradient) <= 0, 0.0 * gradient, change)
    if not _is_zero(k.shrinkage):
        change = change + k.shrinkage * parameter
    if k.variant.schedule_free:
        change, m = _averaged(change, first_moment, k)
    return Change(change, m, v, max_second_moment)


def averaging_weight(learning_rate: Scalar) -> Scalar:
    """What a step counts in schedule-free's average: η² (Defazio et al. 2024, Algorithm 1)."""
    return learning_rate * learning_rate


def divisor(scale: Array, k: Coefficients, xp: Any) -> Array:
    """√v̂ + ε, both times √(1 - β₂ᵗ), of v or, with AMSGrad, of the largest v so far."""
    if not _is_zero(k.root_epsilon):
        scale = scale + k.root_epsilon
    root = xp.sqrt(scale)
    return (k.root_share * root if k.variant.rectified else root) + k.epsilon


def _normalized(gradient: Array, second_moment: Array, k: Coefficients, xp: Any) -> Array:
    """ADOPT: g / max(√v, ε) with the v of the step before, within ±c_t (Taniguchi et al. 2024, Algorithm 2)."""
    normalized = gradient / xp.maximum(xp.sqrt(second_moment), k.epsilon)
    return xp.maximum(xp.minimum(normalized, k.clip), -k.clip)


def averaging(learning_rate: Scalar, weight_sum: Scalar, xp: Any = math) -> Scalar:
    """Schedule-free's c: the share of a step in the sum of all weights, `weight_sum` before it; 0 where all are 0."""
    weight = averaging_weight(learning_rate)
    total = weight_sum + weight
    if xp is math:
        return weight / total if total > 0 else 0.0
    return weight / xp.where(total > 0, total, total + 1.0)


def _averaged(change: Array, lead: Array, k: Coefficients) -> tuple[Array, Array]:
    """Schedule-free: what is taken from y, and the new x - y (Defazio et al. 2024, Algorithm 1).

    x ← (1 - c)·x + c·z and y ← (1 - β₁)·z + β₁·x. The parameter is y, and x - y is kept in place of m: it begins at 0
    and is small, as m, so that every format of m holds it, and x, which is to be used, needs no β₁ to be found.
    `change` is 1 - β₁ of z's step: what y loses before x moves. z - x is then -(x - y)/(1 - β₁), which moves both.
    """
    of_lead, kept = shares_of_averaging(k)
    lead = lead + change
    return change + of_lead * lead, kept * lead


def shares_of_averaging(k: Coefficients) -> tuple[Scalar, Scalar]:
    """Schedule-free: what y loses of x - y as x moves, and what x - y keeps."""
    return k.averaging * k.first_decay.beta / k.first_decay.complement, 1.0 - k.averaging


def _looking_ahead(
    k: Coefficients, step: Scalar, size: Scalar, momentum_decay: float | None, corrected: bool, xp: Any
) -> Coefficients:
    """NAdam: m̂ = β₁·m/(1 - β₁ᵗ⁺¹) + (1 - β₁)·g/(1 - β₁ᵗ) (Dozat 2016, Algorithm 2), for η·√(1 - β₂ᵗ) = `size`.

    With its schedule μ_t+1 stands for the first β₁, μ_t for the second, and for each power the product of all μ. m is
    the mean by β₁, as in PyTorch and Keras.
    """
    beta, complement, log = k.first_decay
    if momentum_decay is None:
        coming = bias_correction(step + 1, k.first_decay, xp) if corrected else 1.0
        return k._replace(step_size=size * beta / coming, gradient_share=k.step_size * complement)
    below, next_below, log_product = momentum_schedule(step, momentum_decay, xp)
    complement, next_complement = complement + beta * below, complement + beta * next_below  # 1 - μ_t, 1 - μ_t+1
    now: Scalar = 1.0
    coming = 1.0
    if corrected:
        now = -xp.expm1(step * log + log_product)
        coming = now + (1.0 - now) * next_complement
    return k._replace(step_size=size * (beta * (1.0 - next_below)) / coming, gradient_share=size * complement / now)


def _rectified(k: Coefficients, step: Scalar, root: Scalar, xp: Any) -> Coefficients:
    """RAdam: a step is r_t times as large from ρ_t > 5 on, and before it η·m̂, momentum alone (Liu et al. 2020)."""
    factor, length = rectification(step, k.second_decay.complement, k.second_decay.log, xp)
    if xp is math:
        if length > 5:
            return k._replace(step_size=k.step_size * factor, gradient_share=k.gradient_share * factor)
        change = {"epsilon": 1.0, "root_share": 0.0}
        return k._replace(step_size=k.step_size / root, gradient_share=k.gradient_share / root, **change)
    tractable = length > 5
    factor = xp.where(tractable, factor, 1 / root)
    return k._replace(
        step_size=k.step_size * factor,
        gradient_share=k.gradient_share * factor,
        epsilon=xp.where(tractable, k.epsilon, 1.0),
        root_share=xp.where(tractable, 1.0, 0.0),
    )


def _from_the_second(step: Scalar, decay: Decay, xp: Any) -> Decay:
    """The decay, but in the first step one that keeps nothing of before."""
    if xp is math:
        return Decay.of(0.0) if step == 1 else decay
    first = step == 1
    beta, complement = (number + 0.0 * step for number in (decay.beta, decay.complement))  # of the step's dtype
    return Decay(xp.where(first, 0.0 * step, beta), xp.where(first, 0.0 * step + 1.0, complement), decay.log)


def moving_average(average: Array, value: Array, decay: Decay, xp: Any) -> Array:
    """β·average + (1 - β)·value, with one rounding of the size of the result.

    It goes from the end that has the larger weight, so that only the small correction is rounded twice, and β itself
    is not rounded to the array's dtype.
    """
    difference = value - average
    if isinstance(decay.beta, float):
        return average + decay.complement * difference if decay.beta >= 0.5 else value - decay.beta * difference
    return xp.where(decay.beta >= 0.5, average + decay.complement * difference, value - decay.beta * difference)


def second_average(average: Array, gradient: Array, decay: Decay, xp: Any, in_blocks: bool = False) -> Array:
    """β·average + (1 - β)·g², at most `largest_second_moment`, for gradients that `bounded` has bounded.

    As `moving_average`, but (1 - β)·g·g is taken as it stands: g² is infinite from |g| = 1.8·10¹⁹ on in float32.
    In blocks it is the mean over each: Adam-mini (Zhang et al. 2024, arXiv:2406.16793, Algorithm 1).
    """
    share = decay.complement * gradient * gradient
    if in_blocks:
        share = block_means(share, average.shape, xp)
    if isinstance(decay.beta, float):
        new = average + (share - decay.complement * average) if decay.beta >= 0.5 else share + decay.beta * average
    else:
        forward, backward = average + (share - decay.complement * average), share + decay.beta * average
        new = xp.where(decay.beta >= 0.5, forward, backward)
    largest = largest_second_moment(average.dtype)
    return xp.where(new > largest, largest, new)  # XLA on a CPU takes twice as long over a step with its minimum here


def faded(moment: Array, missed: Array, decay: Decay, xp: Any) -> Array:
    """M or v after n further steps whose gradient is 0, βⁿ times what it was: what dense Adam makes of it.

    Args:
        moment: (rows, …).
        missed: n >= 0, whole numbers in the moment's dtype, of each row: (rows, 1, …).
        decay: β₁ for m, β₂ for v. AMSGrad's largest v stays as it is.
        xp: An array namespace that has `exp` and, where a β is traced, `maximum`.
    """
    return moment * share_left(missed, decay, xp)


def share_left(missed: Array, decay: Decay, xp: Any) -> Array:
    """βⁿ, for `faded`."""
    least = -1e9  # for log 0, with which 0·log β would be no number
    log = max(decay.log, least) if isinstance(decay.log, float) else xp.maximum(decay.log, least)
    return xp.exp(missed * log)


def block_means(values: Array, shape: Sequence[int], xp: Any) -> Array:
    """The mean of each block: along the axes for which v, of this shape, has 1. It is finite where all values are."""
    along = tuple(axis for axis, size in enumerate(shape) if size == 1)
    count = max(math.prod(values.shape[axis] for axis in along), 1)
    return xp.sum(values / count, axis=along, keepdims=True) if along else values


def bounded(gradient: Array, decay: Decay, xp: Any) -> Array:
    """The gradient, at most as large as `largest_gradient`; NaN where it is not finite."""
    bound = largest_gradient(gradient.dtype, decay, xp)
    return xp.maximum(xp.minimum(gradient, bound), -bound) + (gradient - gradient)  # + 0, or NaN


def largest_second_moment(dtype: Any) -> float:
    """The largest v: a power of two, which every format of `moments` has. 2¹²⁷, or 2¹⁰²³ for float64."""
    return 2.0**1023 if str(dtype).endswith("float64") else 2.0**127


def largest_gradient(dtype: Any, decay: Decay, xp: Any = math) -> Scalar:
    """The largest |g| whose (1 - β₂)·g² v can hold: 4.1·10²⁰ in float32 for β₂ = 0.999.

    A larger gradient counts as this one, so that a step is never larger than Adam's usual bound, η/√(1 - β₂).
    """
    root = math.sqrt if isinstance(decay.complement, float) else xp.sqrt
    return math.sqrt(largest_second_moment(dtype)) / root(decay.complement)


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


def check_momentum_decay(value: Any, *, nesterov: bool) -> float | None:
    """`value`, if it is None, or a number > 0 beside `nesterov`.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range, or there is no Nesterov momentum that it could vary.
    """
    if value is None:
        return None
    if not nesterov:
        raise ValueError(
            "momentum_decay needs nesterov=True: it varies the momentum that looks ahead. Received: "
            f"momentum_decay={value!r} with nesterov=False"
        )
    if number := check_number("momentum_decay", value):
        return number
    raise ValueError(
        f"momentum_decay must be > 0, or None for a momentum that stays β₁. Received: momentum_decay={value!r}"
    )


def _corrections(step: Scalar, first: Decay, second: Decay, xp: Any) -> tuple[Scalar, Scalar]:
    """√(1 - β₂ᵗ) and 1 - β₁ᵗ."""
    return xp.sqrt(_bias_correction(step, second, xp)), _bias_correction(step, first, xp)


_bias_correction = bias_correction  # where an argument has that name


def _is_zero(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and value == 0
