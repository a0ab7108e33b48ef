"""Depthwise convolution as a sum of shifted arrays, each times the weights of one position of the kernel."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from adamkit.lab.training.windows import sliding
from adamkit.lab.training.windows.sliding import Window


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> jax.Array:
    """`keras.ops.depthwise_conv`.

    Args:
        inputs: (rows, …, channels), or (rows, channels, …) with `data_format="channels_first"`.
        kernel: (…, channels, multiplier).
        strides: Of the output's positions, one for all axes or one each.
        padding: "valid" or "same".
        data_format: None: Keras's default.
        dilation_rate: Of the kernel's positions.

    Returns:
        (rows, …, channels · multiplier), or (rows, channels · multiplier, …).
    """
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    inputs = sliding.channels_last(inputs, data_format)
    if inputs.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            f"the number of input channels must be the kernel's. Received: {inputs.shape[-1]} and {kernel.shape[-2]}"
        )
    axes = inputs.ndim - 2
    window = sliding.window(inputs.shape[1:-1], kernel.shape[:axes], strides, padding, dilation_rate)
    # A channel's outputs stand side by side: the same as if it were there once for each of them.
    inputs = jnp.repeat(inputs, kernel.shape[-1], axis=-1) if kernel.shape[-1] > 1 else inputs
    output: Any = weighted_sum(inputs, kernel.reshape(*kernel.shape[:axes], -1), window)
    return sliding.as_given(output, data_format)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def weighted_sum(inputs: jax.Array, weights: jax.Array, window: Window) -> jax.Array:
    """In each channel the sum over a window, each position with its weight: (rows, …, channels).

    Args:
        inputs: (rows, …, channels).
        weights: (…, channels), the window's shape first; or (…, 1), for all channels.
        window: How it slides.
    """
    each_position = weights.reshape(-1, weights.shape[-1])
    places = sliding.positions(inputs, window)
    return sliding.reduced(jnp.add, (place * weight for place, weight in zip(places, each_position, strict=True)))


def _forward(inputs: jax.Array, weights: jax.Array, window: Window) -> tuple:
    return weighted_sum(inputs, weights, window), (inputs, weights)


def _backward(window: Window, arrays: tuple, gradient: jax.Array) -> tuple:
    """The inputs' gradient as a sum of shifted arrays again: of padded ones, as JAX has it, XLA makes slow loops."""
    inputs, weights = arrays
    over_outputs = sliding.spread(gradient, window.strides)
    mirrored = jnp.flip(weights, range(len(window.sizes)))
    for_inputs = weighted_sum(over_outputs, mirrored, window.transposed(inputs.shape[1:-1]))
    all_but_channels = tuple(range(gradient.ndim - 1))
    places = sliding.positions(inputs, window)
    for_weights = jnp.stack([jnp.sum(place * gradient, all_but_channels) for place in places])
    if weights.shape[-1] < for_weights.shape[-1]:
        for_weights = for_weights.sum(axis=-1, keepdims=True)
    return for_inputs, for_weights.reshape(weights.shape)


weighted_sum.defvjp(_forward, _backward)
