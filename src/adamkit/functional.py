"""Adam on NumPy arrays, as two pure functions: to read, to teach with, and to optimize anything that has a gradient."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamkit import blockwise as blocks
from adamkit import rule, variants
from adamkit.variants import Variant


class AdamState(NamedTuple):
    """What Adam remembers between two steps.

    Attributes:
        step: Steps done so far, t.
        first_moment: (…,) mean of the gradients, m; float32, or float64 for a float64 parameter.
        second_moment: (…,) mean of their squares, v; the same dtype. With `blockwise` 1 for each axis but the last, or
            (1,) of a vector.
        max_second_moment: As v, the largest so far, or None without AMSGrad.
        weight_sum: With `schedule_free` the sum of η² so far, and `first_moment` is x − y; see `step`.
    """

    step: int
    first_moment: NDArray
    second_moment: NDArray
    max_second_moment: NDArray | None = None
    weight_sum: float = 0.0


def init(parameter: ArrayLike, *, amsgrad: bool = False, blockwise: bool = False) -> AdamState:
    """The state before the first step: both moments zero.

    Args:
        parameter: (…,) the array to optimize; only its shape and dtype are used.
        amsgrad: Whether to keep the largest second moment too (Reddi et al. 2018).
        blockwise: Whether a block shares one v; see `step`.

    Returns:
        The state to give to the first call of `step`.

    Raises:
        TypeError: `parameter` is not floating point, or a switch no boolean.
    """
    parameter = _floating("parameter", parameter)
    dtype = _arithmetic_dtype(parameter)
    zeros = np.zeros(_shape_of_second(parameter, rule.check_flag("blockwise", blockwise)), dtype)
    return AdamState(0, np.zeros(parameter.shape, dtype), zeros, zeros if rule.check_flag("amsgrad", amsgrad) else None)


def step(
    parameter: ArrayLike,
    gradient: ArrayLike,
    state: AdamState,
    *,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = True,
    epsilon_hat: bool = False,
    bias_correction: bool = True,
    adaptivity: bool = True,
    nesterov: bool = False,
    rectified: bool = False,
    cautious: bool = False,
    adopt: bool = False,
    schedule_free: bool = False,
    blockwise: bool = False,
    momentum_decay: float | None = None,
) -> tuple[NDArray, AdamState]:
    """One step of Adam: Kingma and Ba 2015 (arXiv:1412.6980), Algorithm 1.

    Args:
        parameter: (…,) floating point. Arithmetic is float32, or float64 for float64; the result has this dtype.
        gradient: (…,) the loss's gradient at `parameter`, of the same shape.
        state: What `init` or the last `step` returned.
        learning_rate: η >= 0, the size of a step in units of the parameter.
        beta_1: 0 <= β₁ < 1, the decay rate of the first moment.
        beta_2: 0 <= β₂ < 1, the decay rate of the second moment.
        epsilon: ε >= 0, added to the root of the bias-corrected second moment.
        weight_decay: λ >= 0.
        decoupled: True: weight decay shrinks the parameter by η·λ (AdamW, Loshchilov and Hutter 2019). False: λ times
            the parameter is added to the gradient (L2).
        epsilon_hat: Add ε before bias correction, as Keras and TensorFlow do ("epsilon hat" in the paper).
        bias_correction: False: m and v as they are, in place of m̂ and v̂.
        adaptivity: False: the step is η·m̂, gradient descent with momentum; v stays as it is.
        nesterov: NAdam (Dozat 2016): m̂ looks one step ahead.
        rectified: RAdam (Liu et al. 2020, arXiv:1908.03265): the first steps are momentum alone, and the next smaller,
            while v knows too little.
        cautious: Of the change, only what goes against the gradient (Liang et al. 2024, arXiv:2411.16085).
        adopt: ADOPT (Taniguchi et al. 2024, arXiv:2411.02853): the gradient is divided by the root of the v before it,
            and m is the mean of that. The first step only sets v.
        schedule_free: Defazio et al. 2024 (arXiv:2405.15682): no schedule of the learning rate is needed. The parameter
            is y, where gradients are taken; what is to be used is x, the weighted mean of z, at
            `parameter + state.first_moment`.
        blockwise: Adam-mini (Zhang et al. 2024, arXiv:2406.16793): one v for what leads to one output, the mean of its
            g²; a parameter is (…, inputs, outputs), as in Keras, and a vector is one block. The state is then
            `init(parameter, blockwise=True)`.
        momentum_decay: ψ > 0: with `nesterov` the β₁ that looks ahead grows as β₁·(1 − ½·0.96^(tψ)), Dozat's schedule.
            `torch.optim.NAdam` has ψ = 0.004, `keras.optimizers.Nadam` ψ = 1. None: it stays β₁.

    Returns:
        The new parameter and the new state. The arguments are left as they are.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is out of range, the shapes differ, or two switches do not go together.

    Example:
        >>> import adamkit
        >>> x = np.array([3.0, -2.0])
        >>> state = adamkit.init(x)
        >>> for _ in range(2000):  # minimize the sum of x²
        ...     x, state = adamkit.step(x, 2 * x, state, learning_rate=0.01)
        >>> bool(np.abs(x).max() < 1e-3)
        True
    """
    parameter = _floating("parameter", parameter)
    gradient = _floating("gradient", gradient)
    for name, array in (("gradient", gradient), ("state", state.first_moment)):
        if array.shape != parameter.shape:
            raise ValueError(f"{name} must have the parameter's shape {parameter.shape}. Received: {array.shape}")
    dtype = _arithmetic_dtype(parameter)
    variant = variants.check(
        Variant(nesterov, rectified, cautious, adopt, schedule_free, blockwise),
        amsgrad=state.max_second_moment is not None,
        epsilon_hat=epsilon_hat,
        bias_correction=bias_correction,
        adaptivity=adaptivity,
        epsilon=epsilon,
    )
    shape = _shape_of_second(parameter, blockwise)
    if state.second_moment.shape != shape:
        raise ValueError(
            f"state must be of init(parameter, blockwise={blockwise}), whose v has the shape {shape}. Received: a v of "
            f"shape {state.second_moment.shape}"
        )
    coefficients = rule.coefficients(
        state.step + 1,
        rule.check_number("learning_rate", learning_rate),
        rule.Decay.of(rule.check_number("beta_1", beta_1, below=1)),
        rule.Decay.of(rule.check_number("beta_2", beta_2, below=1)),
        rule.check_number("epsilon", epsilon),
        rule.check_number("weight_decay", weight_decay),
        epsilon_hat=rule.check_flag("epsilon_hat", epsilon_hat),
        decoupled=rule.check_flag("decoupled", decoupled),
        bias_correction=rule.check_flag("bias_correction", bias_correction),
        adaptivity=rule.check_flag("adaptivity", adaptivity),
        variant=variant,
        momentum_decay=rule.check_momentum_decay(momentum_decay, nesterov=nesterov),
        averaging=rule.averaging(learning_rate, state.weight_sum) if schedule_free else 0.0,
    )
    new = rule.update(parameter.astype(dtype), gradient.astype(dtype), *state[1:4], coefficients, xp=np)
    weight_sum = state.weight_sum + rule.averaging_weight(learning_rate) if schedule_free else state.weight_sum
    return new.parameter.astype(parameter.dtype), AdamState(state.step + 1, *new[1:], weight_sum)


def _shape_of_second(parameter: NDArray, blockwise: bool) -> tuple[int, ...]:
    return blocks.shape_of_blocks(parameter.shape, blocks.LAST) if blockwise else parameter.shape


def _floating(name: str, array: ArrayLike) -> NDArray:
    array = np.asarray(array)
    # NumPy does not count the extension types bfloat16 and float8 as floating; they have kind "V".
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name.startswith(("bfloat", "float"))):
        raise TypeError(f"{name} must be an array of floating-point numbers. Received: dtype {array.dtype}")
    return array


def _arithmetic_dtype(parameter: NDArray) -> np.dtype:
    return np.dtype(np.float64 if parameter.dtype == np.float64 else np.float32)
