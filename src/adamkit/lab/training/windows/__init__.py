"""Convolution and pooling as matrix products and sums of shifted arrays.

XLA on the CPU has a fast convolution for one model outside of a loop only: inside `scan` it is a naive loop, and mapped
over members it becomes a grouped convolution, which is slower still; depthwise convolution is slow everywhere. What
these files make of it is matrix products and sums, which are fast anywhere. `sliding.py` has what they share.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import keras

from adamkit.keras.internals import flat_layers, jax_nn
from adamkit.lab.training.windows.convolution import conv, conv_transpose
from adamkit.lab.training.windows.depthwise import depthwise_conv
from adamkit.lab.training.windows.pooling import average_pool, max_pool

# By their names in Keras, whose `separable_conv` calls two of them.
FUNCTIONS = {f.__name__: f for f in (conv, conv_transpose, depthwise_conv, average_pool, max_pool)}


@contextlib.contextmanager
def as_matrix_products(*, in_loop: bool = True) -> Iterator[None]:
    """While a step is traced, Keras's layers convolve and pool as here; on a GPU they keep Keras's own way.

    With `in_loop=False`, for a step that is neither mapped nor in a loop, convolution is XLA's own where that is fast.
    """
    if jax.default_backend() != "cpu":
        yield
        return
    keras_nn: Any = jax_nn()
    own = {name: getattr(keras_nn, name) for name in FUNCTIONS}
    vars(keras_nn).update(FUNCTIONS if in_loop else FUNCTIONS | {"conv": functools.partial(conv, in_loop=False)})
    try:
        yield
    finally:
        vars(keras_nn).update(own)


def operations(model: keras.Model) -> float:
    """Of a built model's convolutions with kernels larger than 1 and one group: multiplications and additions a row."""
    total = 0.0
    for layer in flat_layers(model):
        if isinstance(layer, _LAYERS) and layer.groups == 1 and math.prod(layer.kernel_size) > 1 and layer.built:
            output: Any = layer.compute_output_shape((layer.get_build_config() or {})["input_shape"])
            places = output[1:-1] if layer.data_format == "channels_last" else output[2:]
            if None not in places:
                total += 2.0 * math.prod(layer.kernel.shape) * math.prod(places)
    return total


_LAYERS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
