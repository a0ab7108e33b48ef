"""With `lazy`, steps of some rows of a variable, and what rows that missed steps are owed."""

from typing import Any

import keras
from keras import ops

from adamkit import rounding, rule
from adamkit.keras.arithmetic import dtype_of, int32, namespace
from adamkit.keras.coefficients import betas, coefficients
from adamkit.keras.internals import index_of
from adamkit.keras.one_pass import step_rows_in_one_pass
from adamkit.keras.sparse import brought_near, is_sparse, rows_of, set_rows, summed
from adamkit.keras.state import by_rows, fade


def step_rows(optimizer: Any, gradient: Any, variable: Any, k: rule.Coefficients, dtype: str) -> None:
    """One step of the rows of a variable that a sparse gradient has."""
    xp, index = namespace(), index_of(optimizer, variable)
    rows, values = summed(gradient)
    slots = optimizer._slots(variable)
    rows = brought_near(rows, [variable, *(slot.values for slot in slots)])
    here = rows_of(variable, rows)
    parts = [slot._replace(values=rows_of(slot.values, rows)) for slot in slots]
    remainder, last = optimizer._remainders[index], optimizer._last_steps[index]
    narrow = dtype_of(variable) in rounding.NARROW
    kept = None if remainder is None else rows_of(remainder, rows)
    wide = rounding.restore(here, kept, ops) if narrow else here
    first, second, *maximum = (part.read(dtype) for part in parts)
    if last is not None:
        before: Any = rows_of(last, rows)
        missed = by_rows(int32(optimizer.iterations) - before, first)
        first = rule.faded(first, missed, k.first_decay, xp)
        second = rule.faded(second, missed, k.second_decay, xp)
        # A maximum since the new values are to come from the old: else XLA keeps a copy of all old ones to read later.
        set_rows(last, rows, ops.maximum(before, int32(optimizer._step())))
    largest = maximum[0] if maximum else None
    new = rule.update(wide, ops.cast(values, dtype), first, second, largest, k, xp)
    if narrow:
        key = rounding.random_key(optimizer.rounding_seed, optimizer._step(), index, ops)
        here, kept = rounding.store(new.parameter, dtype_of(variable), optimizer.parameter_rounding, key, ops)
        if kept is not None:
            set_rows(remainder, rows, kept)
    set_rows(variable, rows, here if narrow else new.parameter)
    for slot, part, moment in zip(slots, parts, new[1:], strict=False):
        part.write(moment, optimizer._step(), lambda _, value, slot=slot: set_rows(slot.values, rows, value))


def step_sparse(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> tuple[list, list]:
    """On PyTorch, the step of variables with sparse gradients; what is left for a step of all rows."""
    pairs = list(zip(gradients, variables, strict=True))
    for gradient, variable in pairs:
        if not is_sparse(gradient):
            catch_up(optimizer, variable)
        elif not step_rows_in_one_pass(optimizer, gradient, variable, learning_rate):
            optimizer.update_step(gradient, variable, coefficients(optimizer, learning_rate))
    left = [pair for pair in pairs if not is_sparse(pair[0])]
    return [gradient for gradient, _ in left], [variable for _, variable in left]


def catch_up(optimizer: Any, variable: Any) -> None:
    """Before a step of all rows: m and v of those that missed steps, as dense Adam has them."""
    missed = optimizer.missed_steps(variable)
    if missed is None:
        return

    def faded() -> None:
        fade(optimizer._slots(variable)[:2], missed, betas(optimizer), optimizer._step(), optimizer.assign)

    if keras.backend.backend() == "jax":  # where a branch cannot assign
        faded()
    else:
        ops.cond(ops.any(missed > 0), faded, lambda: None)
    last = optimizer._last_steps[index_of(optimizer, variable)]
    optimizer.assign(last, 0 * last + int32(optimizer._step()))
