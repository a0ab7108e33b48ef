"""The numbers of a step, from what an optimizer was given."""

import math
from typing import Any

import numpy as np
from keras import ops

from adamkit import rule
from adamkit.keras.arithmetic import arithmetic_dtype, float64
from adamkit.keras.groups import Setting
from adamkit.keras.internals import decays, index_of, step_count_of, trained_by
from adamkit.variants import SWITCHES, Variant

Numbers = dict[str, list[rule.Coefficients]]  # those of a step in each dtype of the arithmetic, of each of `settings`


def coefficients(optimizer: Any, learning_rate: Any, epsilon_factor: Any = None) -> Numbers:
    """The numbers of this step, computed in float64 (a few scalars, so it costs nothing) and rounded once.

    Args:
        optimizer: A built one.
        learning_rate: A number or a tensor; it may be all this already.
        epsilon_factor: What ε is multiplied by.
    """
    if isinstance(learning_rate, dict):
        return learning_rate
    with float64():
        step, rate = ops.cast(optimizer._step(), "float64"), ops.cast(learning_rate, "float64")
        settings = optimizer._own.settings
        own = [setting.rate(rate, step_count_of(optimizer)) for setting in settings]
        own = [ops.cast(rate, "float64") if ops.is_tensor(rate) else rate for rate in own]
        c = averaging(optimizer, rate, ops)
        found = [numbers(optimizer, step, *pair, c, ops) for pair in zip(own, settings, strict=True)]
        if epsilon_factor is not None:
            factor = ops.cast(epsilon_factor, "float64")
            found = [k._replace(epsilon=k.epsilon * factor) for k in found]
    dtypes = sorted({arithmetic_dtype(variable) for variable in trained_by(optimizer)})
    return {dtype: [_cast(k, dtype) for k in found] for dtype in dtypes}


def numbers_of(optimizer: Any, variable: Any, coefficients: Numbers) -> rule.Coefficients:
    """The numbers of a variable."""
    k = coefficients[arithmetic_dtype(variable)][optimizer._own.places[index_of(optimizer, variable)]]
    return k if decays(optimizer, [variable])[0] else k._replace(shrinkage=0.0)


def numbers(
    optimizer: Any, step: Any, learning_rate: Any, setting: Setting, averaging: Any, xp: Any
) -> rule.Coefficients:
    """The numbers of the variables with a setting, computed with `math` or an array namespace."""
    decay = optimizer.weight_decay if setting.weight_decay is None else setting.weight_decay
    return rule.coefficients(
        step,
        learning_rate,
        *betas(optimizer),
        optimizer.epsilon,
        0.0 if decay is None else decay,
        epsilon_hat=optimizer.epsilon_hat,
        bias_correction=optimizer.bias_correction,
        adaptivity=optimizer.adaptivity,
        variant=variant_of(optimizer),
        averaging=averaging,
        momentum_decay=optimizer.momentum_decay,
        xp=xp,
    )


def averaging(optimizer: Any, learning_rate: Any, xp: Any) -> Any:
    """With `schedule_free`: what this step counts in the average; groups count alike."""
    if optimizer._averages is None:
        return 0.0
    if xp is math:
        weight_sum = float(np.asarray(ops.convert_to_numpy(optimizer._averages.value))[0])
    else:
        weight_sum = ops.cast(optimizer._averages[0], "float64")
    return rule.averaging(learning_rate, weight_sum, xp)


def betas(optimizer: Any) -> tuple[rule.Decay, rule.Decay]:
    """β₁ and β₂."""
    first, second = (
        beta if isinstance(beta, rule.Decay) else rule.Decay.of(float(beta))
        for beta in (optimizer.beta_1, optimizer.beta_2)
    )
    return first, second


def variant_of(optimizer: Any) -> Variant:
    """Its switches."""
    return Variant(*[getattr(optimizer, name) for name in SWITCHES])


def _cast(k: Any, dtype: str) -> Any:
    return k._replace(
        **{
            name: _cast(x, dtype) if isinstance(x, rule.Decay) else ops.cast(x, dtype)
            for name, x in k._asdict().items()
            if isinstance(x, rule.Decay) or ops.is_tensor(x)
        }
    )
