"""What a step does where a gradient is not finite: nothing, but a note of it or an error."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit.guards import not_finite
from adamkit.keras.arithmetic import is_known, python_number
from adamkit.keras.internals import trained_by
from adamkit.keras.sparse import dense, is_sparse, summed


def apply_guarded(optimizer: Any, apply: Callable, grads: list, trainable_variables: Any) -> Any:
    """`apply`, which is Keras's own, where all gradients are finite; else nothing but a note of it."""
    if not optimizer.built:
        with keras.name_scope(optimizer.name, caller=optimizer):
            optimizer.build(trainable_variables)
    lazily = [summed(g)[1] if optimizer.lazy and is_sparse(g) else dense(g) for g in grads]
    finite = [None if g is None else ops.all(ops.isfinite(g)) for g in lazily]
    all_finite = functools.reduce(ops.logical_and, [one for one in finite if one is not None], True)
    place = functools.reduce(  # of the first that is not
        lambda later, one: later if one[1] is None else ops.where(one[1], later, one[0]),
        reversed(list(enumerate(finite))),
        len(finite),
    )
    skips = optimizer.on_nonfinite == "skip"
    guard = optimizer._guard
    if is_known(all_finite):
        if bool(all_finite):
            return apply(grads, trainable_variables)
        if skips:
            guard.assign(guard + np.array([1, 0], "int32"))
            return None
        variables = trained_by(optimizer) if trainable_variables is None else list(trainable_variables)
        first = variables[int(python_number(place))]
        raise not_finite(first.path, python_number(optimizer.iterations) + 1)
    note = guard.value
    if skips:
        noted = ops.add(note, ops.stack([ops.cast(ops.logical_not(all_finite), "int32"), 0]))
    else:
        new = ops.stack([ops.cast(optimizer._step(), "int32"), ops.cast(place, "int32")])
        goes_on = ops.logical_and(all_finite, ops.equal(note[0], 0))
        noted = ops.where(ops.logical_or(goes_on, ops.not_equal(note[0], 0)), note, new)
        all_finite = goes_on
    state = [*trained_by(optimizer), *optimizer.variables]
    # On TensorFlow the value of a variable is the variable, which a step changes.
    value_of = ops.copy if keras.backend.backend() == "tensorflow" else ops.convert_to_tensor
    before = [value_of(variable) for variable in state]
    apply(grads, trainable_variables)
    for variable, value in zip(state, before, strict=True):
        now = value_of(variable)
        if now is not value:
            variable.assign(ops.where(all_finite, now, value))
    guard.assign(noted)
    return None
