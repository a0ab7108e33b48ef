"""Convolution as matrix products: one for each position of the kernel, or one over all positions side by side."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adamkit.keras import internals
from adamkit.lab.training.windows import sliding
from adamkit.lab.training.windows.sliding import Window

_FEW_CHANNELS = 16  # below, one product over all positions side by side is faster, and its copies are small
# Above, the positions are gathered by one operation: each of its own compiles for seconds at 64 of them, and is slower.
_MANY_POSITIONS = 27


def conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    *,
    in_loop: bool = True,
) -> jax.Array:
    """`keras.ops.conv`.

    Args:
        inputs: (rows, …, channels), or (rows, channels, …) with `data_format="channels_first"`.
        kernel: (…, channels / groups, filters).
        strides: Of the output's positions, one for all axes or one each.
        padding: "valid" or "same".
        data_format: None: Keras's default.
        dilation_rate: Of the kernel's positions.
        in_loop: Whether it runs in a loop or is mapped; else XLA's own convolution is fast, but for groups.

    Returns:
        (rows, …, filters), or (rows, filters, …).
    """
    kernel = jnp.asarray(kernel)
    inputs = sliding.channels_last(jnp.asarray(inputs, kernel.dtype), data_format)
    axes = inputs.ndim - 2
    if inputs.shape[-1] % kernel.shape[-2]:
        raise ValueError(
            f"the number of input channels must be a multiple of the kernel's. Received: {inputs.shape[-1]} and "
            f"{kernel.shape[-2]}"
        )
    window = sliding.window(inputs.shape[1:-1], kernel.shape[:axes], strides, padding, dilation_rate)
    if 0 in window.counts(inputs.shape[1:-1]) and inputs.size:
        raise ValueError("the convolution has an empty output: the input is smaller than the kernel")
    convolved = _convolved if in_loop or inputs.shape[-1] > kernel.shape[-2] else _by_xla
    return sliding.as_given(convolved(inputs, kernel, window), data_format)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    output_padding: int | Sequence[int] | None = None,
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> jax.Array:
    """`keras.ops.conv_transpose`: a convolution with a filter for each place between two inputs, put in their places.

    Args:
        inputs: (rows, …, channels), or (rows, channels, …) with `data_format="channels_first"`.
        kernel: (…, filters, channels).
        strides: The places from one input to the next in the output.
        padding: "valid" or "same".
        output_padding: Places that are added at the end of each axis; None: as many as Keras adds.
        data_format: None: Keras's default.
        dilation_rate: Of the kernel's positions.

    Returns:
        (rows, …, filters), or (rows, filters, …).
    """
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    inputs = sliding.channels_last(inputs, data_format)
    axes = inputs.ndim - 2
    if inputs.shape[-1] != kernel.shape[-1]:
        raise ValueError(
            f"the number of input channels must be the kernel's. Received: {inputs.shape[-1]} and {kernel.shape[-1]}"
        )
    steps = sliding.each(strides, axes)
    pads = internals.transposed_padding(inputs.shape, kernel.shape, steps, padding, output_padding, dilation_rate)
    rates = sliding.each(dilation_rate, axes)
    kernel = sliding.spread(kernel.reshape(1, *kernel.shape[:axes], -1), rates)[0].reshape(
        *((size - 1) * rate + 1 for size, rate in zip(kernel.shape[:axes], rates, strict=True)), *kernel.shape[axes:]
    )
    output = _between(inputs, kernel, steps)
    # `output` is all that any input reaches: what JAX has with a padding of the kernel's length less one.
    spans = kernel.shape[:axes]
    crops = tuple((low - span + 1, 0) for span, (low, _) in zip(spans, pads, strict=True))
    output = sliding.padded(output, crops)
    lengths = [
        (length - 1) * step + 1 + low + high - span + 1
        for length, step, span, (low, high) in zip(inputs.shape[1:-1], steps, spans, pads, strict=True)
    ]
    ends = tuple((0, length - now) for length, now in zip(lengths, output.shape[1:-1], strict=True))
    return sliding.as_given(sliding.padded(output, ends), data_format)


def _between(inputs: jax.Array, kernel: jax.Array, steps: Sequence[int]) -> jax.Array:
    """What is left of a transposed convolution without padding: at least (length - 1) · step + kernel long."""
    axes, filters, channels = len(steps), *kernel.shape[-2:]
    blocks = [-(-size // step) for size, step in zip(kernel.shape[:axes], steps, strict=True)]
    ends = [(0, n * step - size) for n, step, size in zip(blocks, steps, kernel.shape[:axes], strict=True)]
    kernel = jnp.pad(kernel, [*ends, (0, 0), (0, 0)])
    # (block, place in it, …, filters, channels) to (block, …, channels, place, …, filters)
    kernel = kernel.reshape(*(n for pair in zip(blocks, steps, strict=True) for n in pair), filters, channels)
    order = (*range(0, 2 * axes, 2), 2 * axes + 1, *range(1, 2 * axes, 2), 2 * axes)
    kernel = sliding.backwards(kernel.transpose(order).reshape(*blocks, channels, -1))
    ones = (1,) * axes
    output = _convolved(inputs, kernel, Window(tuple(blocks), ones, tuple((n - 1, n - 1) for n in blocks), ones))
    lengths = output.shape[1:-1]
    output = output.reshape(len(output), *lengths, *steps, filters)
    order = (0, *(axis for i in range(axes) for axis in (1 + i, 1 + axes + i)), 1 + 2 * axes)
    lengths = [length * step for length, step in zip(lengths, steps, strict=True)]
    return output.transpose(order).reshape(len(output), *lengths, filters)


def _convolved(inputs: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution of (rows, …, channels) with a kernel (…, channels / groups, filters)."""
    if max(window.strides) == 1 and inputs.shape[-1] == kernel.shape[-2]:
        return _close(inputs, kernel, window)
    return _products(inputs, kernel, window)


def _by_xla(inputs: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    axes = "DHW"[3 - len(window.sizes) :]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(
        inputs, kernel, window.strides, window.pads, rhs_dilation=window.dilation, dimension_numbers=layout
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _close(inputs: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """`_products` with strides of 1, whose gradient is a convolution, rather than a sum of padded arrays."""
    return _products(inputs, kernel, window)


def _forward(inputs: jax.Array, kernel: jax.Array, window: Window) -> tuple:
    return _products(inputs, kernel, window), (inputs, kernel)


def _backward(window: Window, arrays: tuple, gradient: jax.Array) -> tuple:
    inputs, kernel = arrays
    mirrored = jnp.swapaxes(sliding.backwards(kernel), -1, -2)
    for_inputs = _close(gradient, mirrored, window.transposed(inputs.shape[1:-1]))
    (for_kernel,) = jax.vjp(lambda kernel: _products(inputs, kernel, window), kernel)[1](gradient)
    return for_inputs, for_kernel


_close.defvjp(_forward, _backward)


def _products(inputs: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution as products, in the form that suits its size."""
    axes, groups = len(window.sizes), inputs.shape[-1] // kernel.shape[-2]
    number = math.prod(window.sizes)
    if groups == 1 and number > _MANY_POSITIONS:
        gathered = _gathered(inputs, window)
        return gathered @ kernel.reshape(-1, kernel.shape[-1])
    each_position = kernel.reshape(number, *kernel.shape[axes:])
    places = sliding.positions(inputs, window)
    if groups == 1 and inputs.shape[-1] < _FEW_CHANNELS:
        return jnp.concatenate(list(places), axis=-1) @ each_position.reshape(-1, kernel.shape[-1])
    product = jnp.matmul if groups == 1 else functools.partial(_grouped, groups=groups)
    return sliding.reduced(jnp.add, (product(place, w) for place, w in zip(places, each_position, strict=True)))


def _gathered(inputs: jax.Array, window: Window) -> jax.Array:
    """All positions of each window side by side, (rows, …, positions · channels), taken axis by axis."""
    counts = window.counts(inputs.shape[1:-1])
    output = sliding.padded(inputs, window.pads)
    axes = len(counts)
    for i in range(axes):
        axis = 1 + 2 * i
        places = np.arange(counts[i])[:, None] * window.strides[i] + np.arange(window.sizes[i]) * window.dilation[i]
        output = jnp.take(output, places, axis=axis, mode="clip")
    order = (0, *range(1, 1 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2), 1 + 2 * axes)
    return output.transpose(order).reshape(len(inputs), *counts, -1)


def _grouped(place: jax.Array, weights: jax.Array, groups: int) -> jax.Array:
    place = place.reshape(*place.shape[:-1], groups, -1)
    weights = weights.reshape(weights.shape[0], groups, -1)
    return jnp.einsum("...gc,cgf->...gf", place, weights).reshape(*place.shape[:-2], -1)
