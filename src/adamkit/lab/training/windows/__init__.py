"""Convolution and pooling as matrix products and sums of shifted arrays.

XLA on the CPU has a fast convolution for one model outside of a loop only: inside `scan` it is a naive loop, and mapped
over members it becomes a grouped convolution, which is slower still; depthwise convolution is slow everywhere. What
these files make of it is matrix products and sums, which are fast anywhere. `sliding.py` has what they share.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

from adamkit.keras.internals import jax_nn
from adamkit.lab.training.windows.convolution import conv, conv_transpose
from adamkit.lab.training.windows.depthwise import depthwise_conv
from adamkit.lab.training.windows.pooling import average_pool, max_pool

# By their names in Keras, whose `separable_conv` calls two of them.
FUNCTIONS = {f.__name__: f for f in (conv, conv_transpose, depthwise_conv, average_pool, max_pool)}


@contextlib.contextmanager
def as_matrix_products() -> Iterator[None]:
    """While a step is traced, Keras's layers convolve and pool as here; on a GPU they keep Keras's own way."""
    if jax.default_backend() != "cpu":
        yield
        return
    keras_nn: Any = jax_nn()
    own = {name: getattr(keras_nn, name) for name in FUNCTIONS}
    vars(keras_nn).update(FUNCTIONS)
    try:
        yield
    finally:
        vars(keras_nn).update(own)
