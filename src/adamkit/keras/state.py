"""How `adamkit.keras.Adam` keeps moments in Keras variables, and takes over those of another optimizer or a file."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from adamkit import moments, rounding, rule
from adamkit.blockwise import fits, fitted
from adamkit.keras.arithmetic import arithmetic_dtype, dtype_of, int32, python_number
from adamkit.keras.coefficients import betas
from adamkit.keras.internals import moments_of, trained_by

MOMENT_NAMES = ("momentum", "velocity", "velocity_hat")  # Keras's names, so that files of either load in the other


class Slot(NamedTuple):
    """One moment of one variable: its numbers, or 8-bit codes for them with a scale for each block."""

    name: str  # one of MOMENT_NAMES
    values: Any  # keras.Variable, of the variable's shape, or of `blockwise.shape_of_blocks`
    scales: Any  # keras.Variable of `moments.shape_of_scales`, or None

    @property
    def variables(self) -> list:
        """The one or two variables."""
        return [self.values] if self.scales is None else [self.values, self.scales]

    def read(self, dtype: str) -> Any:
        """The moment as numbers of a dtype, float32 or float64."""
        if self.scales is None:
            return ops.cast(self.values, dtype)
        decode = moments.decode_first if self.name == "momentum" else moments.decode_second
        codes, scales = (ops.convert_to_tensor(variable) for variable in self.variables)
        return ops.cast(decode(codes, scales, ops), dtype)

    def write(self, moment: Any, step: Any, assign: Any) -> None:
        """Keep a moment.

        Args:
            moment: Float32 or float64, of the shape of `values`.
            step: The number of the step in progress, which decides what is rounded up and what down.
            assign: A function of a variable and its new value.
        """
        if self.scales is not None:
            encode = moments.encode_first if self.name == "momentum" else moments.encode_second
            shaped = len(self.scales.shape) > 1
            coded = encode(ops.cast(moment, "float32"), step, ops, shaped=shaped)
            for variable, value in zip(self.variables, coded, strict=True):
                assign(variable, value)
            return
        if dtype_of(self.values) == "bfloat16":
            moment = moments.round_to_bfloat16(ops.cast(moment, "float32"), step, ops)
        assign(self.values, moment)


def slots(optimizer: keras.optimizers.Adam) -> list[Slot]:
    """All moments of an optimizer, Keras's Adam or Nadam or ours, in the order of its variables."""
    kinds = moments_of(optimizer)
    scales = getattr(optimizer, "_scales", None) or [[None] * 3] * len(kinds[0])
    table = [
        [None if variables[i] is None else Slot(name, variables[i], scales[i][kind]) for i in range(len(variables))]
        for kind, (name, variables) in enumerate(zip(MOMENT_NAMES, kinds, strict=False))
    ]
    pairs = [slot for pair in zip(*table[:2], strict=True) for slot in pair]
    return [slot for slot in (*pairs, *(one for kind in table[2:] for one in kind)) if slot is not None]


def copy_state(source: keras.optimizers.Adam, target: keras.optimizers.Adam) -> None:
    """Give an optimizer the state of another one that is built on the same variables.

    Remainders are not copied: without one, a variable is what it says.
    """
    if not source.built:
        for old, new in zip(source.variables, target.variables, strict=True):
            new.assign(ops.cast(old, new.dtype))
        return
    before, after = slots(source), slots(target)
    for old, new in zip(_general(source, before), _general(target, after), strict=True):
        new.assign(ops.cast(old, new.dtype))
    for old, new in zip(before, after, strict=True):
        new.write(old.read(arithmetic_dtype(new.values)), target.iterations, keras.Variable.assign)


def loaded(optimizer: Any, arrays: list[np.ndarray]) -> bool:
    """Whether the state could be set to these arrays; m and schedule-free's x - y stand in the same place."""
    if optimizer.finds_rate:  # whose moments are of d times the gradient
        return False
    has_averages = bool(arrays) and arrays[-1].shape == (2,) and arrays[-1].dtype == "float32"
    if optimizer._averages is None:
        if load_state(optimizer, arrays):
            _take_last_steps(optimizer, None)
            return True
        others, last_steps = split_last_steps(optimizer, arrays)
        if last_steps is not None and optimizer._guard is None and load_state(optimizer, others):
            _take_last_steps(optimizer, last_steps)
            return True
        if not (has_averages and load_state(optimizer, arrays[:-1])):
            return False
        _forget_first(optimizer, "the saved state is schedule-free: its x - y is left out, and m begins at 0")
        return True
    if has_averages and load_state(optimizer, arrays[:-1]):
        optimizer._averages.assign(arrays[-1])
        return True
    if not load_state(optimizer, arrays):
        return False
    optimizer._averages.assign(np.zeros(2, "float32"))
    _forget_first(optimizer, "the saved state is not schedule-free: its m is left out, and the average begins here")
    return True


def load_state(optimizer: Any, arrays: Sequence[np.ndarray]) -> bool:
    """Give our optimizer the state in a file, whatever the format and the blocks of the moments there.

    Args:
        optimizer: Built.
        arrays: What were the `variables` of an optimizer of ours, or of Keras's Adam, on the same variables.

    Returns:
        False, with nothing done, where there are more or fewer arrays than any of these has.

    Raises:
        ValueError: An array has another shape or type than it should; the optimizer is as it was.
    """
    own = slots(optimizer)
    general = _general(optimizer, own)
    remainders = [remainder for remainder in optimizer._remainders if remainder is not None]
    arrays, values = arrays[: len(general)], arrays[len(general) :]
    values, rest = values[: len(own)], values[len(own) :]
    coded = [array.dtype.kind in "iu" for array in values]
    scales, rest = rest[: sum(coded)], rest[sum(coded) :]
    narrow = sum(dtype_of(variable) in rounding.NARROW for variable in trained_by(optimizer))
    if len(values) < len(own) or len(scales) < sum(coded) or len(rest) not in (0, narrow):
        return False
    for variable, array in zip(general, arrays, strict=True):
        _check(optimizer, array, variable.path, tuple(variable.shape))
    of_parameters = [tuple(slot.values.shape) for slot in own if slot.name == "momentum"]
    parameters = {name: iter(of_parameters) for name in MOMENT_NAMES}
    for slot, array in zip(own, values, strict=True):
        parameter = next(parameters[slot.name])
        if slot.name == "momentum" or not fits(array.shape, parameter):
            _check(optimizer, array, slot.values.path, tuple(slot.values.shape))
    scale_of = iter(scales)
    stored = [
        (slot, array, next(scale_of) if code else None) for slot, array, code in zip(own, values, coded, strict=True)
    ]
    for slot, array, scale in stored:
        if scale is not None:
            blocks = (moments.blocks(math.prod(array.shape)),)
            _check(optimizer, scale.reshape(-1), f"{slot.values.path}_scale", blocks, "uint8")
            _check(optimizer, array, slot.values.path, array.shape, "uint8")
    for variable, array in zip(general, arrays, strict=True):
        variable.assign(array)
    for slot, array, scale in stored:
        if scale is not None and slot.scales is not None:
            slot.values.assign(array)
            slot.scales.assign(scale.reshape(slot.scales.shape))  # of another axis, where it was not sharded as here
            continue
        decode = moments.decode_first if slot.name == "momentum" else moments.decode_second
        numbers = array if scale is None else decode(array, scale, np)
        moment = fitted(ops.cast(ops.convert_to_tensor(numbers), arithmetic_dtype(slot.values)), slot.values.shape, ops)
        slot.write(moment, optimizer.iterations, keras.Variable.assign)
    same = len(rest) == len(remainders) and all(
        array.dtype == remainder.dtype and array.shape == tuple(remainder.shape)
        for array, remainder in zip(rest, remainders, strict=True)
    )
    for i, remainder in enumerate(remainders):
        remainder.assign(rest[i] if same else np.zeros(remainder.shape, remainder.dtype))
    return True


def fade(pair: Sequence[Slot], missed: Any, decays: Sequence[rule.Decay], step: Any, assign: Any) -> None:
    """Give m and v of a variable's rows so many steps each, (rows,), whose gradient is 0."""
    for slot, decay in zip(pair, decays, strict=True):
        moment = slot.read(arithmetic_dtype(slot.values))
        slot.write(rule.faded(moment, by_rows(missed, moment), decay, ops), step, assign)


def by_rows(missed: Any, moment: Any) -> Any:
    """(n,) whole numbers as (n, 1, …), in the axes and the dtype of a moment of n rows."""
    return ops.cast(ops.reshape(missed, (-1,) + (1,) * (len(moment.shape) - 1)), moment.dtype)


def split_last_steps(optimizer: Any, arrays: Sequence[np.ndarray]) -> tuple[Sequence[np.ndarray], Any]:
    """What was saved, without what `lazy="exact"` keeps, the last step of each row; and that, or None."""
    shapes = [tuple(variable.shape[:1]) for variable in trained_by(optimizer) if variable.shape]
    found = arrays[len(arrays) - len(shapes) :]
    if not shapes or [(array.shape, array.dtype.name) for array in found] != [(shape, "int32") for shape in shapes]:
        return arrays, None
    return arrays[: len(arrays) - len(shapes)], found


def _take_last_steps(optimizer: Any, saved: Any) -> None:
    """Go on from a state with the last step of each row, or without, where the moments are all as of now."""
    of_rows = iter(saved or ())
    for variable, last in zip(trained_by(optimizer), optimizer._last_steps, strict=True):
        given = next(of_rows, None) if variable.shape else None
        if last is not None:
            last.assign(0 * last + int32(optimizer.iterations) if given is None else given)
        elif given is not None:
            missed = python_number(optimizer.iterations) - given
            fade(optimizer._slots(variable)[:2], missed, betas(optimizer), optimizer._step(), optimizer.assign)


def _forget_first(optimizer: Any, why: str) -> None:
    """Set what stands in the place of m to 0, and warn."""
    warnings.warn(why, stacklevel=4)
    for variable in trained_by(optimizer):
        slot = optimizer._slots(variable)[0]
        for part in slot.variables if slot.values is not None else ():
            part.assign(ops.zeros(part.shape, part.dtype))


def _general(optimizer: Any, own: list[Slot]) -> list:
    """The step count, the learning rate, averages and accumulated gradients: what comes before the moments."""
    if not own:
        return optimizer.variables
    return optimizer.variables[: [id(v) for v in optimizer.variables].index(id(own[0].values))]


def _check(optimizer: Any, array: np.ndarray, name: str, shape: tuple, dtype: str | None = None) -> None:
    if array.shape != shape or dtype not in (None, array.dtype.name):
        accepted = f"{shape}" if dtype is None else f"{shape} and dtype {dtype}"
        received = f"{array.shape}" if dtype is None else f"{array.shape} and dtype {array.dtype.name}"
        raise ValueError(
            f"the saved state does not fit {optimizer.name} with moment_dtype={optimizer.moment_dtype!r}: {name} must "
            f"have shape {accepted}. Received: {received}"
        )
