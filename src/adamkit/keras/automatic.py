"""An optimizer whose learning rate is found."""

from collections.abc import Callable
from typing import Any

from keras import ops

from adamkit import prodigy, rule
from adamkit.keras.arithmetic import arithmetic_dtype, float64
from adamkit.keras.coefficients import betas, coefficients
from adamkit.keras.internals import learning_rate_of
from adamkit.keras.sparse import dense


def check_auto(optimizer: Any) -> None:
    """Refuse what does not go with it, by a ValueError."""
    for name, reason in prodigy.REFUSED.items():
        if getattr(optimizer, name):
            raise ValueError(f"learning_rate='auto' does not go with {name}=True: {reason}. Received: both")
    if not optimizer.adaptivity:
        raise ValueError("learning_rate='auto' needs adaptivity=True: its estimate is of Adam's steps. Received: False")
    if any("learning_rate" in name for own in (optimizer.groups or {}).values() for name in own):
        raise ValueError(
            "learning_rate='auto' does not go with learning rates in groups: it is for all. Received: both"
        )


def step_with_found_rate(optimizer: Any, step: Callable, gradients: Any, variables: Any, learning_rate: Any) -> None:
    """A step, which Keras's own `step` does, by d, which is the learning rate, and the d of the next one."""
    d, first = ops.cast(learning_rate, "float32"), ops.equal(optimizer.iterations, 0)
    correction: Any = 1.0
    if optimizer.bias_correction:
        with float64():
            number = optimizer._step()
            rates = [rule.bias_correction(ops.cast(number, "float64"), beta, ops) for beta in betas(optimizer)]
            correction = ops.cast(ops.sqrt(rates[1]) / rates[0], "float32")
    weight: Any = prodigy.weight(d, correction)
    root: Any = ops.sqrt(ops.cast(betas(optimizer)[1].beta, "float32"))
    agreement: Any = 0.0
    size: Any = 0.0
    scaled = []
    for gradient, variable in zip(gradients, variables, strict=True):
        dtype = arithmetic_dtype(variable)
        g: Any = ops.cast(dense(gradient), dtype)
        wide = optimizer._wide(variable)
        start, kept = optimizer._starts[id(variable)], optimizer._sums[id(variable)]
        begun: Any = ops.where(first, ops.cast(wide, start.dtype), ops.convert_to_tensor(start))
        before: Any = ops.convert_to_tensor(kept)
        s = before * ops.cast(root, dtype) + g * ops.cast(weight, dtype)
        agreement = agreement + ops.cast(ops.sum(g * (begun - wide)), "float32")
        size = size + ops.cast(ops.sum(ops.abs(s)), "float32")
        optimizer.assign(start, begun)
        optimizer.assign(kept, s)
        scaled.append(ops.cast(d, dtype) * g)
    after = prodigy.advanced(prodigy.Estimate(d, optimizer._estimate[0]), weight * agreement, size, root, ops)
    step(scaled, variables, coefficients(optimizer, d, epsilon_factor=after.distance))
    optimizer._estimate.assign(ops.reshape(after.agreement, (1,)))
    learning_rate_of(optimizer).assign(after.distance)
