"""In which dtype a step computes, and numbers as a step, or Keras, wants them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit import arrays, rounding


def dtype_of(tensor: Any) -> str:
    """The name of a tensor's or variable's dtype."""
    return keras.backend.standardize_dtype(tensor.dtype)


def arithmetic_dtype(variable: Any) -> str:
    """In which dtype a variable is stepped."""
    return "float64" if dtype_of(variable) == "float64" else "float32"


def namespace() -> Any:
    """`keras.ops`, or PyTorch itself on its backend: there `keras.ops.maximum` rounds float64 to float32."""
    if keras.backend.backend() != "torch":
        return ops
    import torch

    return arrays.namespace(torch)


def int32(number: Any) -> Any:
    """A whole number as a tensor."""
    return ops.cast(number, "int32")


def number(value: Any) -> Any:
    """A 0-d tensor as a Python float, as Keras takes them; anything else as it is."""
    return float(value) if ops.is_tensor(value) and len(value.shape) == 0 else value


def python_number(value: Any) -> Any:
    """A 0-d tensor or variable as a Python number; anything else as it is."""
    held = value.value if isinstance(value, keras.Variable) else value
    if hasattr(held, "item"):
        return held.item()
    return np.asarray(ops.convert_to_numpy(held)).item() if ops.is_tensor(held) else held


def is_known(value: Any) -> bool:
    """Whether a number can be looked at now, in no program that is being traced."""
    backend = keras.backend.backend()
    if backend == "jax":
        from jax.core import Tracer

        return not isinstance(value, Tracer)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly()
    import torch

    return not torch.compiler.is_compiling()


@contextlib.contextmanager
def learning_rate_in_float32() -> Iterator[None]:
    """Keras makes the variable in `floatx`, where 0.001 is 0.00099945 in bfloat16, and 1e-8 is 0 in float16."""
    floatx = keras.config.floatx()
    try:
        if floatx in rounding.NARROW:
            keras.config.set_floatx("float32")
        yield
    finally:
        keras.config.set_floatx(floatx)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Lets JAX compute in float64, which it otherwise turns into float32; the other backends always can."""
    if keras.backend.backend() == "jax":
        import jax

        with jax.enable_x64(True):
            yield
    else:
        yield
