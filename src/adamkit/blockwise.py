"""Which elements of a parameter share one v, with `blockwise` (Adam-mini: Zhang et al. 2024, arXiv:2406.16793).

The paper finds the blocks by the names of layers (Algorithms 2 and 3). Here they follow from a parameter's shape and
from where a framework's layers have the axis of their outputs: a block is what leads to one output, and a vector is one
block. v has the parameter's axes, of size 1 where a block goes along them, so that it broadcasts.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from adamkit.rule import Array, block_means

LAST, FIRST = -1, 0  # the axis of outputs: of Keras and flax (…, inputs, outputs), of PyTorch (outputs, inputs, …)


def axes_of_blocks(shape: Sequence[int], outputs: int) -> tuple[int, ...]:
    """The axes that a block goes along: all but that of the outputs, or all of a vector or a number.

    Args:
        shape: Of the parameter.
        outputs: `LAST` or `FIRST`.

    Example:
        >>> axes_of_blocks((3, 3, 16, 32), LAST), axes_of_blocks((32, 16, 3, 3), FIRST), axes_of_blocks((32,), LAST)
        ((0, 1, 2), (1, 2, 3), (0,))
    """
    axes = range(len(shape))
    return tuple(axis for axis in axes if len(shape) < 2 or axis != outputs % len(shape))


def shape_of_blocks(shape: Sequence[int], outputs: int) -> tuple[int, ...]:
    """That of v: the parameter's, with 1 for the axes that a block goes along."""
    along = axes_of_blocks(shape, outputs)
    return tuple(1 if axis in along else size for axis, size in enumerate(shape))


def fits(shape: Sequence[int], parameter: Sequence[int]) -> bool:
    """Whether a v of that shape can be of a parameter of that shape, with blocks of any kind or none."""
    return len(shape) == len(parameter) and all(one in (1, size) for one, size in zip(shape, parameter, strict=True))


def fitted(moment: Array, shape: Sequence[int], xp: Any) -> Array:
    """A v, or a largest v, of another optimizer in the shape that it has in this one.

    The mean over a block is what v would be with these blocks from the start; of the largest v it is at least that.

    Args:
        moment: (…,) numbers for which, and for the parameter that `shape` is of, `fits` is true.
        shape: Of `shape_of_blocks`, or the parameter's own.
        xp: `numpy`, `jax.numpy`, `torch` or `keras.ops`.

    Warns:
        UserWarning: An element is to have a v of its own and had that of a block, which it begins with.
    """
    before, shape = tuple(moment.shape), tuple(shape)
    whole = tuple(map(max, before, shape))
    if whole != before:
        warnings.warn(
            "the saved state is blockwise, or has other blocks: each v begins at the mean of the block that it was in",
            stacklevel=2,
        )
        moment = xp.broadcast_to(moment, whole)
    return moment if whole == shape else block_means(moment, shape, xp)
