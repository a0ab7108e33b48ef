"""Pooling as comparisons and sums of shifted arrays."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adamkit.lab.training.windows import sliding
from adamkit.lab.training.windows.depthwise import weighted_sum
from adamkit.lab.training.windows.sliding import Window


def max_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """`keras.ops.max_pool`; the gradient goes to the first of equal values, as in XLA."""
    inputs, window = _arguments(inputs, pool_size, strides, padding, data_format)
    largest = sliding.reduced(_larger, sliding.positions(inputs, window, _smallest(inputs.dtype)))
    return sliding.as_given(largest, data_format)


def average_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> jax.Array:
    """`keras.ops.average_pool`; the padding does not count."""
    inputs, window = _arguments(inputs, pool_size, strides, padding, data_format)
    lengths = inputs.shape[1:-1]
    if jnp.issubdtype(inputs.dtype, jnp.integer):
        total = sliding.reduced(jnp.add, sliding.positions(inputs, window))
    else:
        total = weighted_sum(inputs, jnp.ones((*window.sizes, 1), inputs.dtype), window)
    counts: Any = math.prod(window.sizes)
    if padding.lower() == "same":
        counts = np.ones((1,) * inputs.ndim)
        for axis, count in enumerate(_counts(window, lengths)):
            counts = counts * count.reshape([-1 if i == axis + 1 else 1 for i in range(inputs.ndim)])
        counts = jnp.asarray(counts, inputs.dtype)
    return sliding.as_given(total / counts, data_format)


def _arguments(inputs: Any, pool_size: Any, strides: Any, padding: str, data_format: str | None) -> Any:
    inputs = sliding.channels_last(jnp.asarray(inputs), data_format)
    axes = inputs.ndim - 2
    sizes = sliding.each(pool_size, axes)
    return inputs, sliding.window(inputs.shape[1:-1], sizes, sizes if strides is None else strides, padding)


def _counts(window: Window, lengths: Sequence[int]) -> list[np.ndarray]:
    """For each axis: how many places of each window are in the array and not in its padding."""
    counts = []
    for i, number in enumerate(window.counts(lengths)):
        places = np.arange(number)[:, None] * window.strides[i] - window.pads[i][0] + np.arange(window.sizes[i])
        counts.append(((places >= 0) & (places < lengths[i])).sum(axis=1))
    return counts


def _smallest(dtype: Any) -> Any:
    """What is no larger than any number of a dtype."""
    return jnp.iinfo(dtype).min if jnp.issubdtype(dtype, jnp.integer) else -jnp.inf


@jax.custom_jvp
def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.max(a, b)


@_larger.defjvp
def _larger_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _larger(*primals), lax.select(primals[0] >= primals[1], *tangents)
