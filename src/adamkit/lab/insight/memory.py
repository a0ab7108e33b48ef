"""What training with Adam holds in memory, by how parameters and moments are stored."""

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adamkit import moments, rounding
from adamkit.lab import data, models, references
from adamkit.lab.errors import InputError, reason

# What can be chosen; the last is what is usual elsewhere: parameters in bfloat16 and once more in float32.
_MASTER = "float32 master"
_PARAMETERS = (
    ("float32", "nearest"),
    ("bfloat16", "compensated"),
    ("bfloat16", "compensated8"),
    ("bfloat16", "stochastic"),
    ("float16", "compensated"),
    ("bfloat16", _MASTER),
)
_ITEM_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2, "int16": 2, "int8": 1, None: 0}


class Row(NamedTuple):
    """One way to store parameters and moments, and the bytes of each part."""

    dtype: str  # of the parameters and their gradients
    parameter_rounding: str
    moment_dtype: str
    parameters: int
    gradients: int
    moments: int
    remainder: int  # what is kept beside the parameters
    estimate: int = 0  # with learning_rate="auto", where each parameter began and the sum of its gradients

    @property
    def total(self) -> int:
        """All of it together, in bytes."""
        return self.parameters + self.gradients + self.moments + self.remainder + self.estimate


def table(sizes: Sequence[int], *, auto: bool = False) -> list[Row]:
    """The bytes that each way of storing takes, for arrays of those sizes.

    Activations, the batch and a framework's own needs come on top; so do a second largest moment (AMSGrad), averages of
    the parameters and accumulated gradients. The switches of the rule, `schedule_free` too, keep nothing more.

    Args:
        sizes: How many parameters each array has that is trained.
        auto: Whether the learning rate is found (`learning_rate="auto"`), for which θ₀ is kept in the dtype of the
            parameters, in Keras in float32 at least, and s in float32.

    Example:
        >>> rows = table([7_000_000_000])
        >>> [round(row.total / 7e9, 2) for row in rows if row.dtype == "float32"]
        [16.0, 12.0, 10.03]
    """
    return [
        _row(sizes, dtype, parameter_rounding, moment_dtype, auto)
        for dtype, parameter_rounding in _PARAMETERS
        for moment_dtype in (moments.FORMATS if parameter_rounding != _MASTER else ("float32",))
    ]


def _row(sizes: Sequence[int], dtype: str, parameter_rounding: str, moment_dtype: str, auto: bool) -> Row:
    count, width = sum(sizes), _ITEM_SIZES[dtype]
    beside = "float32" if parameter_rounding == _MASTER else rounding.remainder_dtype(dtype, parameter_rounding)
    of_moments = sum(2 * _bytes_of_moment(size, moment_dtype) for size in sizes)
    started = _ITEM_SIZES["float32"] if parameter_rounding == _MASTER else width
    return Row(
        dtype,
        parameter_rounding,
        moment_dtype,
        parameters=width * count,
        gradients=width * count,
        moments=of_moments,
        remainder=_ITEM_SIZES[beside] * count,
        estimate=(started + _ITEM_SIZES["float32"]) * count if auto else 0,
    )


def _bytes_of_moment(size: int, moment_dtype: str) -> int:
    stored = moments.format_of(size, moment_dtype)
    return size + moments.blocks(size) if stored == "int8" else size * _ITEM_SIZES[stored]


def sizes_of(model: str, data_set: str = "random") -> tuple[list[int], int]:
    """The sizes of a model's arrays, without training it.

    Args:
        model: As in `models.build`; a `module:function` may also return a `torch.nn.Module`, on PyTorch's device "meta"
            too, where it takes no memory.
        data_set: As in `data.load`: the rows that a Keras model is built for.

    Returns:
        How many parameters each array has that is trained, and how many are not trained in all.

    Raises:
        InputError: There is no such model, or it cannot be built for the rows.
    """
    if references.is_reference(model):
        made = references.call(model, data.load(data_set))
        if (arrays := _of_pytorch(made)) is not None:
            return arrays
        made = _built(made, model, data_set)
    elif Path(model).suffix.lower() == ".keras":
        made = models.load(Path(model))
    else:
        made = models.build(model, data.load(data_set))
    trained, others = (
        [math.prod(v.shape) for v in v] for v in (made.trainable_variables, made.non_trainable_variables)
    )
    return trained, sum(others)


def scaled(sizes: Sequence[int], count: int) -> list[int]:
    """Arrays in the same proportions, with `count` parameters in all.

    Example:
        >>> scaled([10, 30], 4000)
        [1000, 3000]
    """
    ends = [end * count // sum(sizes) for end in itertools.accumulate(sizes, initial=0)]
    return [end - start for start, end in itertools.pairwise(ends)]


def _of_pytorch(made: Any) -> tuple[list[int], int] | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(made, torch.nn.Module):
        return None
    parameters = list(made.parameters())
    trained = [p.numel() for p in parameters if p.requires_grad]
    return trained, sum(p.numel() for p in parameters) - sum(trained)


def _built(made: Any, name: str, data_set: str) -> Any:
    import keras

    if not isinstance(made, keras.Model):
        raise InputError(f"{name} must give a keras.Model or a torch.nn.Module. Received: {type(made).__name__}")
    if not made.built:
        shape = data.load(data_set).row_shape
        try:
            made(keras.KerasTensor((None, *shape), dtype="float32"))
        except Exception as error:  # Keras's and the backend's own, for a shape that does not fit
            raise InputError(f"the model {name} does not take rows of shape {shape}: {reason(error)}") from error
    return made
