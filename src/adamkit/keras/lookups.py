"""Sparse gradients of `Embedding` layers, for `lazy`: Keras makes them dense on JAX and PyTorch (issue 19992).

While a model with a lazy optimizer trains, a look-up in a table that this optimizer trains is another: on PyTorch its
own, with `sparse=True`; on JAX that of `lookups_on_jax`. Only then: any other optimizer is given dense gradients, also
of the same layers.
"""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from adamkit.keras.averages import TRAINS, inside
from adamkit.keras.internals import trained_by, without_scaler

_LOOK_UP: contextvars.ContextVar[Any] = contextvars.ContextVar("look_up", default=None)  # of what is trained now
_LOCK = threading.Lock()
_ORIGINALS: list[tuple[Any, str, Callable]] = []  # what is replaced while one trains
_USERS = [0]


@functools.cache
def let_training_be_sparse() -> None:
    """Have the methods of `keras.Model` that train give lazy optimizers sparse gradients; once."""
    for name in TRAINS:
        setattr(keras.Model, name, inside(getattr(keras.Model, name), _training))


def sparse_lookups(optimizer: Any) -> contextlib.AbstractContextManager:
    """On PyTorch, a context in which the tables that an optimizer trains have sparse gradients."""
    return looking_up(None if optimizer is None else functools.partial(_sparse_on_pytorch, optimizer))


@contextlib.contextmanager
def looking_up(look_up: Callable[[keras.Variable, Any], Any] | None) -> Iterator[None]:
    """In here look-ups are what a function of the table and the rows gives; where it gives None, they are Keras's."""
    token = _LOOK_UP.set(look_up)
    _replace()
    try:
        yield
    finally:
        _restore()
        _LOOK_UP.reset(token)


@contextlib.contextmanager
def _training(model: keras.Model) -> Iterator[None]:
    optimizer = without_scaler(getattr(model, "optimizer", None))
    is_lazy = bool(getattr(optimizer, "lazy", False))
    if is_lazy and model.jit_compile:
        raise ValueError(
            f"lazy={optimizer.lazy!r} does not go with jit_compile=True on PyTorch: a graph of torch.compile has no "
            "sparse gradients. Received: both"
        )
    with sparse_lookups(optimizer if is_lazy else None):
        yield


def _replace() -> None:
    """Replace two methods of Keras, unless they are already."""
    with _LOCK:
        _USERS[0] += 1
        if _USERS[0] == 1:
            for kind, name, made in (
                (keras.layers.Embedding, "call", _looking_up),
                (keras.optimizers.LossScaleOptimizer, "check_finite", _checking),
            ):
                original = getattr(kind, name)
                _ORIGINALS.append((kind, name, original))
                setattr(kind, name, made(original))


def _restore() -> None:
    """Put them back when nobody needs them any more."""
    with _LOCK:
        _USERS[0] -= 1
        while _USERS[0] == 0 and _ORIGINALS:
            setattr(*_ORIGINALS.pop())


def _looking_up(original: Callable) -> Callable:
    @functools.wraps(original)
    def call(layer: keras.layers.Embedding, inputs: Any) -> Any:
        look_up = _LOOK_UP.get()
        table: Any = None if look_up is None else layer.embeddings  # with LoRA it is no variable
        found = look_up(table, inputs) if look_up and isinstance(table, keras.Variable) else None
        return original(layer, inputs) if found is None else ops.cast(found, layer.compute_dtype)

    return call


def _sparse_on_pytorch(optimizer: Any, table: Any, inputs: Any) -> Any:
    if not any(table is variable for variable in trained_by(optimizer)):
        return None
    import torch

    rows: Any = ops.cast(inputs, "int64")
    rows = torch.where(rows < 0, rows + table.shape[0], rows)  # as `keras.ops.take` counts
    return torch.nn.functional.embedding(rows, table.value, sparse=True)


def _checking(original: Callable) -> Callable:
    @functools.wraps(original)
    def check_finite(scaler: Any, grads: Any) -> Any:
        return original(scaler, [_numbers(gradient) for gradient in grads])

    return check_finite


def _numbers(gradient: Any) -> Any:
    """Those of a sparse gradient, for PyTorch has no `isfinite` of it; any other as it is."""
    return gradient.coalesce().values() if getattr(gradient, "is_sparse", False) else gradient
