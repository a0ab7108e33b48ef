"""What convolution and pooling share: windows that slide over an array (rows, …, channels)."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax import lax

Pads = tuple[tuple[int, int], ...]  # before and after, on each axis; negative: what is left out


class Window(NamedTuple):
    """A window's shape and how it slides, a number for each axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """From the first position to the last one."""
        return tuple((size - 1) * rate + 1 for size, rate in zip(self.sizes, self.dilation, strict=True))

    def counts(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        padded = (length + low + high for length, (low, high) in zip(lengths, self.pads, strict=True))
        return tuple(
            max(0, (length - span) // step + 1)
            for length, span, step in zip(padded, self.spans, self.strides, strict=True)
        )

    def transposed(self, lengths: Sequence[int]) -> "Window":
        """The window that goes over `spread` outputs and has one place for each input: that of the gradient."""
        pads = []
        counts = self.counts(lengths)
        for i, (length, span) in enumerate(zip(lengths, self.spans, strict=True)):
            before = span - 1 - self.pads[i][0]
            pads.append((before, length + span - 1 - before - ((counts[i] - 1) * self.strides[i] + 1)))
        return Window(self.sizes, (1,) * len(self.sizes), tuple(pads), self.dilation)


def window(
    lengths: Sequence[int],
    sizes: Sequence[int],
    strides: int | Sequence[int],
    padding: str,
    dilation: int | Sequence[int] = 1,
) -> Window:
    """The window over axes of these lengths that Keras's arguments mean."""
    if padding.lower() not in ("valid", "same"):
        raise ValueError(f"padding must be 'valid' or 'same'. Received: padding={padding!r}")
    axes = len(lengths)
    sliding = Window(tuple(sizes), each(strides, axes), ((0, 0),) * axes, each(dilation, axes))
    pads = lax.padtype_to_pads(lengths, sliding.spans, sliding.strides, padding.upper())
    return sliding._replace(pads=tuple((int(low), int(high)) for low, high in pads))


def positions(inputs: jax.Array, sliding: Window, fill: Any = 0) -> Iterator[jax.Array]:
    """For each position in a window, in C order, what stands there in all windows: (rows, …, channels)."""
    counts = sliding.counts(inputs.shape[1:-1])
    inputs = padded(inputs, sliding.pads, fill)
    for position in itertools.product(*map(range, sliding.sizes)):
        starts = [index * rate for index, rate in zip(position, sliding.dilation, strict=True)]
        stops = [
            start + (count - 1) * step + 1 if count else start
            for start, count, step in zip(starts, counts, sliding.strides, strict=True)
        ]
        strides = (1, *sliding.strides, 1)
        yield lax.slice(inputs, (0, *starts, 0), (inputs.shape[0], *stops, inputs.shape[-1]), strides)


def padded(inputs: jax.Array, pads: Pads, fill: Any = 0) -> jax.Array:
    """More of `fill`, or with a negative number less, on each axis."""
    if not any(low or high for low, high in pads):
        return inputs
    config = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return lax.pad(inputs, jnp.asarray(fill, inputs.dtype), config)


def spread(outputs: jax.Array, strides: Sequence[int]) -> jax.Array:
    """Each output at the place of the window that it comes from, zeros between."""
    if max(strides) == 1:
        return outputs
    return lax.pad(outputs, jnp.zeros((), outputs.dtype), [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)])


def reduced(function: Callable, arrays: Iterator[jax.Array]) -> jax.Array:
    """The arrays put together, from the first to the last."""
    return functools.reduce(function, arrays)


def backwards(kernel: jax.Array) -> jax.Array:
    """The positions of a kernel (…, channels, filters) from the last to the first."""
    return jnp.flip(kernel, range(kernel.ndim - 2))


def each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def channels_last(array: jax.Array, data_format: str | None) -> jax.Array:
    """An array in Keras's `data_format` as the functions here have it."""
    return jnp.moveaxis(array, 1, -1) if _is_channels_first(data_format) else array


def as_given(array: jax.Array, data_format: str | None) -> jax.Array:
    """And back."""
    return jnp.moveaxis(array, -1, 1) if _is_channels_first(data_format) else array


def is_empty(array: jax.Array) -> bool:
    """Whether an axis has no length."""
    return math.prod(array.shape) == 0


def _is_channels_first(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_first"
