"""Schedule-free in Keras: which of its two sets of weights a model has, and when.

Gradients are taken at y; what is to be evaluated, used and saved is x. An optimizer is told of neither by Keras, which
calls it in a step and at the end of `fit` alone. So, from the first schedule-free optimizer on, the methods of
`keras.Model` that look at weights, or train them, see to it that they are the right ones; of models with another
optimizer they do nothing.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from adamkit.keras.arithmetic import python_number
from adamkit.keras.internals import without_scaler

TRAINS = ("fit", "train_on_batch")  # which need y
LOOKS = (
    "evaluate", "predict", "test_on_batch", "predict_on_batch", "save", "save_weights", "export", "get_weights",
)  # fmt: skip
WRITES = ("set_weights", "load_weights")  # x, for that is what `get_weights` and `save_weights` gave


@functools.cache
def let_models_follow() -> None:
    """Have the methods of `keras.Model` see to it that weights are x or y; once."""
    for names, around in ((TRAINS, _training), (LOOKS, averaged), (WRITES, _written)):
        for name in names:
            setattr(keras.Model, name, inside(getattr(keras.Model, name), around))


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The weights are x in here, and what they were, to the bit, after it."""
    yield from _as(model, True)


@contextlib.contextmanager
def in_training(model: keras.Model) -> Iterator[None]:
    """The weights are y in here, and what they were, to the bit, after it."""
    yield from _as(model, False)


def _as(model: keras.Model, on: bool) -> Iterator[None]:
    optimizer = _schedule_free(model)
    if optimizer is None or optimizer.is_averaged == on:
        yield
        return
    state = optimizer.averaged_state()
    before = [ops.copy(ops.convert_to_tensor(variable)) for variable in state]
    optimizer.use_averages(on)
    try:
        yield
    finally:
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def _training(model: keras.Model) -> Iterator[None]:
    optimizer = _schedule_free(model)
    if optimizer is not None:
        optimizer.train()
    yield


@contextlib.contextmanager
def _written(model: keras.Model) -> Iterator[None]:
    optimizer = _schedule_free(model)
    if optimizer is None or optimizer.is_averaged:
        yield
        return
    begins = python_number(optimizer.iterations) == 0
    optimizer.eval()
    yield
    if not begins or python_number(optimizer.iterations) == 0:  # else the state of a run that was over was loaded too
        optimizer.train()


def inside(method: Callable, around: Callable) -> Callable:
    """A method of `keras.Model` that runs within a context, which `around` makes of the model."""

    @functools.wraps(method)
    def call(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        with around(self):
            return method(self, *args, **kwargs)

    return call


def _schedule_free(model: keras.Model) -> Any:
    """The model's optimizer, if it is schedule-free and has begun."""
    optimizer = without_scaler(getattr(model, "optimizer", None))
    return optimizer if getattr(optimizer, "schedule_free", False) and optimizer.built else None
