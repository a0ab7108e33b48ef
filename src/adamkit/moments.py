"""How Adam's two moments are stored between steps.

| format     | bytes for both, a parameter | what is kept |
| ---------- | --------------------------- | ------------ |
| `float32`  | 8    | all of it (float64 for float64 parameters: 16 bytes) |
| `bfloat16` | 4    | 8 of 24 significant bits; rounded so that nothing is lost on average |
| `int8`     | 2.03 | a byte each: 4 significant bits of m, 5 of v, over 16 powers of two; nothing lost on average |

**int8** goes by blocks of 64 elements of the flattened (C order) array. A block has one byte of scale: the exponent of
its largest number, as float32 has it. An element's byte says how far below that it is, on the bits of float32: they
are in order of size, so that a subtraction and a shift make the code, and a shift and an addition the number.

    v: 16 powers of two with 16 numbers each                      code = (bits − base) >> 19
    m: a sign, then 16 powers of two with 8 numbers each          code = (bits − base) >> 20

Code 0 is zero. A v that is not zero never becomes zero, only the smallest code: m / √v would throw the parameter. An m
below its range does become zero, or it would stay for ever. A block with NaN or infinity is NaN from then on; no other
block sees it. Denormal numbers (below 1.2·10⁻³⁸) count as zero.

What is cut off decides how often to round up: a value a quarter of the way between two codes is rounded up a quarter
of the times. To the nearest would freeze v, which one step changes by 1 - β₂ = 0.1 %. Which times is a hash of the step
and the place: with a regular sequence in its place, batches that come round regularly could meet always the same side.

There is no arithmetic on rounded numbers here, only integers, so that every array library and the kernels agree on all
bits. `docs/memory.md` has what was measured.
"""

import math
from typing import Any

from adamkit import arrays, rounding
from adamkit.rule import Array, Scalar

FORMATS = ("float32", "bfloat16", "int8")
BLOCK = 64  # elements that share a scale
MIN_SIZE = 4096  # smaller arrays stay float32: biases and norms, which are nothing in all

_NORMAL = 0x00800000  # the smallest normal float32
_INFINITY = 0x7F800000
_NAN = 0x7FC00000
_SHIFT = {"first": 20, "second": 19}  # the bits of float32 that a code leaves out
_CODES = {"first": 128, "second": 256}  # without the sign


def check_format(name: str, value: Any) -> str:
    """`value`, if it is one of `FORMATS`; ValueError otherwise."""
    if value not in FORMATS:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, FORMATS))}. Received: {name}={value!r}")
    return value


def format_of(size: int, moment_dtype: str) -> str:
    """How the moments of a parameter are stored: `moment_dtype`, but float32 in place of int8 for a small one.

    Args:
        size: The parameter's number of elements.
        moment_dtype: What the user asked for, one of `FORMATS`.
    """
    return "float32" if moment_dtype == "int8" and size < MIN_SIZE else moment_dtype


def second_format(stored: str, amsgrad: bool, blockwise: bool = False) -> str:
    """How v is stored where m is stored as `stored`, and AMSGrad's largest v with it.

    The largest v keeps whatever the rounding of v adds to it. An int8 v is off by 15 % at times, so that over some
    thousand steps its largest would be 1.4 times too large; so with AMSGrad both are bfloat16 in place of int8. With
    `blockwise` they are a few numbers, which stay float32.
    """
    if stored == "int8" and blockwise:
        return "float32"
    return "bfloat16" if stored == "int8" and amsgrad else stored


def blocks(size: int) -> int:
    """How many blocks, and so scales, an array of that many elements has; the last may be shorter."""
    return -(-size // BLOCK)


def shape_of_scales(shape: tuple[int, ...], *, shaped: bool) -> tuple[int, ...]:
    """That of an array's scales: (blocks,), or (…, n/64) for (…, n) where they are `shaped` and 64 divides n."""
    if shaped and shape and shape[-1] % BLOCK == 0:
        return *shape[:-1], shape[-1] // BLOCK
    return (blocks(math.prod(shape)),)


def encode_first(moment: Array, step: Scalar, xp: Any, *, shaped: bool = False) -> tuple[Array, Array]:
    """The first moment, m, as int8 blocks.

    Args:
        moment: (…,) float32.
        step: t, a whole number: of Python, or a 0-d integer array. Steps round up in other places.
        xp: `numpy`, `jax.numpy`, `torch` or `keras.ops`.
        shaped: Keep the array's axes in the scales, so that both can be sharded alike; the numbers are the same.

    Returns:
        Codes (…,) uint8, and scales uint8 of `shape_of_scales`.

    Example:
        >>> import numpy
        >>> codes, scales = encode_first(numpy.float32([1.0, -0.5, 0.0, 1e-6]), 1, numpy)
        >>> codes.tolist(), scales.tolist()
        ([120, 240, 0, 0], [127])
        >>> decode_first(codes, scales, numpy).tolist()
        [1.0, -0.5, 0.0, 0.0]
    """
    return _encode(moment, step, "first", arrays.namespace(xp), shaped)


def encode_second(moment: Array, step: Scalar, xp: Any, *, shaped: bool = False) -> tuple[Array, Array]:
    """The second moment, v, or AMSGrad's largest v, as int8 blocks: as `encode_first`, for numbers >= 0."""
    return _encode(moment, step, "second", arrays.namespace(xp), shaped)


def decode_first(codes: Array, scales: Array, xp: Any) -> Array:
    """The first moment from its int8 blocks: what `encode_first` gave, (…,) and (blocks,) uint8, as (…,) float32."""
    return _decode(codes, scales, "first", arrays.namespace(xp))


def decode_second(codes: Array, scales: Array, xp: Any) -> Array:
    """The second moment from its int8 blocks: what `encode_second` gave, (…,) and (blocks,) uint8, as (…,) float32."""
    return _decode(codes, scales, "second", arrays.namespace(xp))


def round_to_bfloat16(moment: Array, step: Scalar, ops: Any) -> Array:
    """A float32 moment, rounded to the numbers that bfloat16 has, up or down in turn.

    Rounding to the nearest would freeze v: one step changes it by (1 - β₂) = 0.1 %, and neighbours in bfloat16 are 0.4
    to 0.8 % apart. So a value a quarter of the way between two neighbours is rounded up on a quarter of the steps:
    before it is cut off, the fraction gets an offset that goes through [0, 1) by the golden ratio (Weyl's sequence).
    Its running means come closer to the true mean than those of random numbers do, and it needs no random state.

    Args:
        moment: (…,) float32.
        step: t, a whole number.
        ops: `keras.ops`, or a namespace with its `view`, `where`, `isfinite` and `bitwise_and`.

    Returns:
        (…,) float32, exact in bfloat16. Zero stays zero; NaN and infinity stay as they are.
    """
    offset = ops.bitwise_and(step * 40503, 0xFFFF)  # 40503 = 2¹⁶ / golden ratio, rounded
    bits = ops.bitwise_and(ops.view(moment, "int32") + ops.cast(offset, "int32"), -0x10000)
    return ops.where(ops.isfinite(moment), ops.view(bits, "float32"), moment)


def _encode(moment: Array, step: Scalar, which: str, xp: Any, shaped: bool) -> tuple[Array, Array]:
    shape = shape_of_scales(tuple(moment.shape), shaped=shaped)
    if 0 in moment.shape:  # of nothing there is no largest
        return xp.cast(moment, "uint8"), xp.cast(xp.reshape(moment, shape), "uint8")
    shift = _SHIFT[which]
    bits = _in_blocks(xp.view(moment, "int32"), shape, xp)
    magnitude = xp.minimum(xp.bitwise_and(bits, 0x7FFFFFFF), _INFINITY)
    raised = magnitude + xp.bitwise_left_shift(_random_16_bits(bits, step, which, xp), shift - 16)
    raised = xp.where(magnitude < _NORMAL, 0, raised)
    # Of the numbers as rounded: one that reaches the next power of two takes the scale along.
    scales = xp.largest_in_rows(xp.bitwise_right_shift(raised, 23))
    codes = xp.bitwise_right_shift(raised - _base(scales, which, xp), shift)
    if which == "first":
        codes = xp.where(raised == 0, 0, xp.maximum(codes, 0))
        codes = xp.bitwise_or(codes, xp.bitwise_and(xp.bitwise_right_shift(bits, 24), 0x80))
    else:
        codes = xp.where(raised == 0, 0, xp.maximum(codes, 1))
    return xp.cast(_as_array(codes, moment.shape, xp), "uint8"), xp.cast(scales, "uint8")


def _decode(codes: Array, scales: Array, which: str, xp: Any) -> Array:
    shape, scales = codes.shape, xp.cast(scales, "int32")
    codes = _in_blocks(xp.cast(codes, "int32"), tuple(scales.shape), xp)
    magnitude = xp.bitwise_and(codes, _CODES[which] - 1)
    bits = xp.bitwise_left_shift(magnitude, _SHIFT[which]) + _base(scales, which, xp)
    bits = xp.where(magnitude == 0, 0, bits)
    bits = xp.where(xp.reshape(scales, (*scales.shape, 1)) == 255, _NAN, bits)
    if which == "first":
        bits = xp.bitwise_or(bits, xp.bitwise_left_shift(xp.bitwise_and(codes, 0x80), 24))
    return xp.view(_as_array(bits, shape, xp), "float32")


def _base(scales: Array, which: str, xp: Any) -> Array:
    """The bits that code 0 would have: the codes end where the power of two after the scale begins. (…, 1)."""
    base = xp.bitwise_left_shift(scales + 1, 23) - (_CODES[which] << _SHIFT[which])
    return xp.reshape(base, (*scales.shape, 1))


def _random_16_bits(array: Array, step: Scalar, which: str, xp: Any) -> Array:
    """0 … 65535 for each element, from the step and its position; other bits of the hash for m than for v."""
    if isinstance(step, int):
        step = (step + 2**31) % 2**32 - 2**31
    start = xp.reshape(xp.cast(step, "int32"), (1,)) * -0x61C88647  # 2³² / golden ratio, as an int32
    bits = rounding.mixed(xp.positions(array) + start, xp)
    bits = bits if which == "first" else xp.bitwise_right_shift(bits, 16)
    return xp.reshape(xp.bitwise_and(bits, 0xFFFF), array.shape)


def _in_blocks(array: Array, scales: tuple[int, ...], xp: Any) -> Array:
    """(…,) as (*scales, BLOCK), with zeros at the end if it does not fill the last."""
    size = math.prod(array.shape)
    if size % BLOCK == 0:
        return xp.reshape(array, (*scales, BLOCK))
    flat = xp.reshape(array, (size,))
    return xp.reshape(xp.pad(flat, -size % BLOCK), (*scales, BLOCK))


def _as_array(in_blocks: Array, shape: Any, xp: Any) -> Array:
    size = math.prod(shape)
    if size % BLOCK == 0:
        return xp.reshape(in_blocks, tuple(shape))
    return xp.reshape(xp.reshape(in_blocks, (blocks(size) * BLOCK,))[:size], tuple(shape))
