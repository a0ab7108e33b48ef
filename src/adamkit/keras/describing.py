"""The variables of an optimizer as a table."""

import math
from typing import Any

import numpy as np

from adamkit.description import Row, formats
from adamkit.keras.arithmetic import dtype_of, python_number
from adamkit.keras.internals import accumulators_of, averages_of, decays, index_of, step_count_of
from adamkit.variants import SWITCHES


def row(optimizer: Any, variable: Any) -> Row:
    """The row of a variable of a built optimizer."""
    index = index_of(optimizer, variable)
    place, slots, remainder = optimizer._own.places[index], optimizer._slots(variable), optimizer._remainders[index]
    kept = [part for part in optimizer._state([variable]) if part is not optimizer._averages]
    kept += [averages_of(optimizer)[index]] if optimizer.use_ema else []
    kept += [accumulators_of(optimizer)[index]] if optimizer.gradient_accumulation_steps else []
    kept += [optimizer._starts[id(variable)], optimizer._sums[id(variable)]] if optimizer.finds_rate else []
    setting = optimizer._own.settings[place]
    rate = python_number(setting.rate(optimizer.learning_rate, step_count_of(optimizer)))
    decay = (optimizer.weight_decay or 0.0) if setting.weight_decay is None else setting.weight_decay
    size = math.prod(variable.shape)
    stored = [optimizer._moment_format(slot.name, size) for slot in slots]
    dtype = dtype_of(variable)
    return Row(
        (_listed(optimizer._own.patterns[place]) or "all others") if optimizer.groups else "all",
        1,
        size,
        formats(
            dtype,
            [dtype if dtype == "float64" and one == "float32" else one for one in stored],
            None if remainder is None else remainder.dtype,
        ),
        sum(math.prod(part.shape) * _itemsize(part) for part in kept),
        {
            "learning_rate": float(f"{rate:.6g}"),
            "beta_1": optimizer.beta_1,
            "beta_2": optimizer.beta_2,
            "epsilon": optimizer.epsilon,
            "weight_decay": decay if decays(optimizer, [variable])[0] else 0.0,
        }
        | {name: True for name in ("amsgrad", "epsilon_hat", "finds_rate", *SWITCHES) if getattr(optimizer, name)}
        | ({"lazy": optimizer.lazy} if optimizer.lazy else {})
        | ({} if optimizer.momentum_decay is None else {"momentum_decay": optimizer.momentum_decay}),
    )


def _listed(patterns: list[str]) -> str:
    more = len(patterns) - 3
    return ", ".join(patterns[:3]) + (f" and {more} more" if more > 0 else "")


def _itemsize(variable: Any) -> int:
    return 2 if (dtype := dtype_of(variable)) == "bfloat16" else np.dtype(dtype).itemsize
