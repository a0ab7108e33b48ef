"""Convolution and max pooling as matrix products and comparisons of shifted arrays.

XLA on the CPU has a fast convolution for one model outside of a loop only: inside `scan` it is a naive loop, and mapped
over members it becomes a grouped convolution, which is slower still. A convolution is a sum of matrix products, one for
each position in the kernel, and the products are fast anywhere.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax

from adamkit.keras.internals import jax_nn

_FEW_CHANNELS = 16  # below, one product over all positions side by side is faster, and its copies are small


@contextlib.contextmanager
def as_matrix_products() -> Iterator[None]:
    """While a step is traced, Keras's layers convolve and pool as here; on a GPU they keep Keras's own way."""
    if jax.default_backend() != "cpu":
        yield
        return
    keras_nn: Any = jax_nn()
    own = keras_nn.conv, keras_nn.max_pool
    keras_nn.conv, keras_nn.max_pool = conv, max_pool
    try:
        yield
    finally:
        keras_nn.conv, keras_nn.max_pool = own


def conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> jax.Array:
    """`keras.ops.conv`.

    Args:
        inputs: (rows, …, channels), or (rows, channels, …) with `data_format="channels_first"`.
        kernel: (…, channels / groups, filters).
        strides: Of the output's positions, one for all axes or one each.
        padding: "valid" or "same".
        data_format: None: Keras's default.
        dilation_rate: Of the kernel's positions.

    Returns:
        (rows, …, filters), or (rows, filters, …).
    """
    kernel = jnp.asarray(kernel)
    inputs = _channels_last(jnp.asarray(inputs, kernel.dtype), data_format)
    axes = inputs.ndim - 2
    groups, rest = divmod(inputs.shape[-1], kernel.shape[-2])
    if rest:
        raise ValueError(
            f"the number of input channels must be a multiple of the kernel's. Received: {inputs.shape[-1]} and "
            f"{kernel.shape[-2]}"
        )
    windows = list(
        _windows(inputs, kernel.shape[:axes], _each(strides, axes), padding, _each(dilation_rate, axes), 0.0)
    )
    if math.prod(windows[0].shape) == 0 and inputs.size:
        raise ValueError("the convolution has an empty output: the input is smaller than the kernel")
    positions = kernel.reshape(len(windows), *kernel.shape[axes:])
    if groups > 1:
        products = [_grouped(window, weights, groups) for window, weights in zip(windows, positions, strict=True)]
        output = functools.reduce(jnp.add, products)
    elif inputs.shape[-1] < _FEW_CHANNELS:
        output = jnp.concatenate(windows, axis=-1) @ positions.reshape(-1, kernel.shape[-1])
    else:
        products = [window @ weights for window, weights in zip(windows, positions, strict=True)]
        output = functools.reduce(jnp.add, products)
    return _as_given(output, data_format)


def max_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """`keras.ops.max_pool`; the gradient goes to the first of equal values, as in XLA."""
    inputs = _channels_last(jnp.asarray(inputs), data_format)
    axes = inputs.ndim - 2
    sizes = _each(pool_size, axes)
    steps = sizes if strides is None else _each(strides, axes)
    largest = functools.reduce(_larger, _windows(inputs, sizes, steps, padding, (1,) * axes, -jnp.inf))
    return _as_given(largest, data_format)


@jax.custom_jvp
def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.max(a, b)


@_larger.defjvp
def _larger_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _larger(*primals), lax.select(primals[0] >= primals[1], *tangents)


def _windows(
    inputs: jax.Array,
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
    fill: float,
) -> Iterator[jax.Array]:
    """For each position in a window, in C order, what stands there in all windows: (rows, …, channels)."""
    spans = [(size - 1) * rate + 1 for size, rate in zip(sizes, dilation, strict=True)]
    shape = inputs.shape[1:-1]
    pads = lax.padtype_to_pads(shape, spans, strides, padding.upper())
    if any(low or high for low, high in pads):
        config = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
        inputs = lax.pad(inputs, jnp.asarray(fill, inputs.dtype), config)
    lengths = inputs.shape[1:-1]
    counts = [max(0, (length - span) // step + 1) for length, span, step in zip(lengths, spans, strides, strict=True)]
    for position in itertools.product(*map(range, sizes)):
        starts = [index * rate for index, rate in zip(position, dilation, strict=True)]
        stops = [
            start + (count - 1) * step + 1 if count else start
            for start, count, step in zip(starts, counts, strides, strict=True)
        ]
        yield lax.slice(inputs, (0, *starts, 0), (inputs.shape[0], *stops, inputs.shape[-1]), (1, *strides, 1))


def _grouped(window: jax.Array, weights: jax.Array, groups: int) -> jax.Array:
    window = window.reshape(*window.shape[:-1], groups, -1)
    weights = weights.reshape(weights.shape[0], groups, -1)
    return jnp.einsum("...gc,cgf->...gf", window, weights).reshape(*window.shape[:-2], -1)


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _is_channels_first(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_first"


def _channels_last(array: jax.Array, data_format: str | None) -> jax.Array:
    return jnp.moveaxis(array, 1, -1) if _is_channels_first(data_format) else array


def _as_given(array: jax.Array, data_format: str | None) -> jax.Array:
    return jnp.moveaxis(array, -1, 1) if _is_channels_first(data_format) else array
