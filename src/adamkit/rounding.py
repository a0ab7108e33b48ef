"""How a bfloat16 or float16 parameter keeps what an update adds to it.

A step changes a parameter by about the learning rate, often less than half the distance of two neighbours in bfloat16
(0.4 % of their size): rounded to the nearest, the parameter stays where it is. The float32 result of a step, θ, is
kept so instead:

| rounding       | beside an element of the parameter  | what is kept |
| -------------- | ----------------------------------- | ------------ |
| `compensated`  | bfloat16: 2 bytes, float16: 4 bytes | θ, to the bit |
| `compensated8` | 1 byte                              | θ to 1/256 of the parameter's ulp; all of it on average |
| `stochastic`   | nothing                             | all of θ on average: the nearer neighbour the more often |
| `nearest`      | nothing                             | the nearest parameter, as a cast does |

bfloat16 is the upper half of a float32, so that an int16 holds the rest: θ's lower half, which is an addition to the
parameter's bits where the parameter was rounded down and a subtraction where it was rounded up. float16 has fewer
exponents than float32, and 16 more bits do not make every float32 of it; there θ itself is kept. Where a parameter is
changed from outside, the new value counts: in float16 a θ that does not round to the parameter is forgotten, and the
remainder of the others adds at most half an ulp.

Everything is done on the bits, with integers, so that NumPy, JAX, TensorFlow, PyTorch and the CPU kernel agree.
"""

import numbers
from typing import Any

import numpy as np

from adamkit import arrays
from adamkit.rule import Array, Scalar

ROUNDINGS = ("compensated", "compensated8", "stochastic", "nearest")
NARROW = ("bfloat16", "float16")

_INFINITY = {"bfloat16": 0x7F80, "float16": 0x7C00}
_NAN = {"bfloat16": 0x7FC0, "float16": 0x7E00}
_SIGN = -0x80000000
_SMALLEST_NORMAL = 113 << 23  # 2⁻¹⁴, the smallest normal float16, as float32 bits


def check_rounding(name: str, value: Any) -> str:
    """`value`, if it is one of `ROUNDINGS`; ValueError otherwise."""
    if value not in ROUNDINGS:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, ROUNDINGS))}. Received: {name}={value!r}")
    return value


def check_seed(name: str, value: Any) -> int:
    """`value` as an int, if it is a whole number with 0 <= value < 2³²; TypeError or ValueError otherwise."""
    accepted = "a whole number >= 0 and < 2**32"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be {accepted}. Received: {name}={value!r} of type {type(value).__name__}")
    if not 0 <= int(value) < 2**32:
        raise ValueError(f"{name} must be {accepted}. Received: {name}={value!r}")
    return int(value)


def remainder_dtype(dtype: str, rounding: str) -> str | None:
    """The type of what is kept beside a parameter of that dtype; None where nothing is."""
    if dtype not in NARROW or rounding not in ("compensated", "compensated8"):
        return None
    return "int8" if rounding == "compensated8" else {"bfloat16": "int16", "float16": "float32"}[dtype]


def restore(parameter: Array, remainder: Array | None, xp: Any) -> Array:
    """The float32 that a parameter and its remainder stand for.

    Args:
        parameter: (…,) bfloat16 or float16.
        remainder: (…,) of `remainder_dtype`, or None.
        xp: `numpy`, `jax.numpy`, `torch` or `keras.ops`.

    Returns:
        (…,) float32. Infinity and NaN are as in the parameter, whatever the remainder; in float16 with `compensated`
        an infinite parameter may stand for a finite number that float16 has no place for.
    """
    xp = arrays.namespace(xp)
    wide = xp.cast(parameter, "float32")
    if remainder is None:
        return wide
    dtype = _name(parameter)
    if _name(remainder) == "float32":
        # Compared as bits: of numbers, XLA may leave out the rounding to float16 that this is about.
        unchanged = xp.view(xp.cast(remainder, dtype), "int16") == xp.view(parameter, "int16")
        return xp.where(unchanged, remainder, wide)
    bits = xp.cast(xp.view(parameter, "int16"), "int32")
    code = xp.bitwise_and(bits, 0x7FFF)
    fraction = xp.cast(remainder, "int32") * (1 if _name(remainder) == "int16" else 256)
    # Below zero there is nothing: a parameter that was set to zero, next to a remainder of what it was.
    magnitude = xp.maximum(xp.bitwise_left_shift(code, 16) + fraction, 0)
    if dtype == "float16":
        small = xp.view(xp.cast(magnitude, "float32") * 2.0**-40, "int32")
        normal = xp.bitwise_right_shift(magnitude, 3) + (112 << 23)
        magnitude = xp.where(magnitude < 1 << 26, small, normal)
    exact = xp.view(xp.bitwise_or(magnitude, xp.bitwise_and(bits, _SIGN)), "float32")
    return xp.where(code < _INFINITY[dtype], exact, wide)


def store(value: Array, dtype: str, rounding: str, key: Array, xp: Any) -> tuple[Array, Array | None]:
    """A float32 as a narrow parameter, and the remainder from which `restore` makes it again.

    Args:
        value: (…,) float32.
        dtype: Of the parameter, "bfloat16" or "float16".
        rounding: One of `ROUNDINGS`.
        key: Of `random_key`, for "compensated8" and "stochastic".
        xp: `numpy`, `jax.numpy`, `torch` or `keras.ops`.

    Returns:
        The parameter, (…,) of `dtype`, and the remainder, (…,) of `remainder_dtype`, or None where there is none.

    Example:
        >>> import numpy
        >>> value = numpy.float32([0.1])
        >>> parameter, remainder = store(value, "bfloat16", "compensated", None, numpy)
        >>> float(parameter[0]), int(remainder[0])  # 0.1 is 0x3dcccccd, the parameter 0x3dcd
        (0.10009765625, -13107)
        >>> float(restore(parameter, remainder, numpy)[0]) == float(value[0])
        True
    """
    xp = arrays.namespace(xp)
    if rounding == "nearest":
        return xp.cast(value, dtype), None
    if rounding == "compensated" and dtype == "float16":
        return xp.cast(value, dtype), value
    bits = xp.view(value, "int32")
    magnitude = _magnitude(xp.bitwise_and(bits, 0x7FFFFFFF), dtype, xp)
    remainder = None
    if rounding == "stochastic":
        code = xp.bitwise_right_shift(magnitude + _random_16_bits(key, value, xp), 16)
    else:
        if rounding == "compensated8":
            dither = xp.bitwise_and(_random_16_bits(key, value, xp), 0xFF)
            magnitude = xp.bitwise_and(magnitude + dither, -0x100)
        code = xp.bitwise_right_shift(magnitude + 0x8000, 16)
        remainder = magnitude - xp.bitwise_left_shift(code, 16)
        if rounding == "compensated8":
            remainder = xp.bitwise_right_shift(remainder, 8)
        remainder = xp.where(code < _INFINITY[dtype], remainder, 0)
        remainder = xp.cast(remainder, "int16" if rounding == "compensated" else "int8")
    code = xp.where(xp.isnan(value), _NAN[dtype], code)
    code = xp.bitwise_or(code, xp.bitwise_right_shift(xp.bitwise_and(bits, _SIGN), 16))
    return xp.view(xp.cast(code, "int16"), dtype), remainder


def remainder_of(value: Array, parameter: Array, rounding: str) -> Array | None:
    """What makes `restore` give a float32, beside the narrow parameter that there is already.

    Args:
        value: (…,) float32, NumPy's.
        parameter: (…,) bfloat16 or float16: `value`, rounded.
        rounding: One of `ROUNDINGS`.

    Returns:
        (…,) of `remainder_dtype`; None where there is none. Of a value half-way between two parameters, rounded to the
        one of smaller size, its last bit is lost: an int16 has no room for it.
    """
    xp, dtype = arrays.namespace(np), _name(parameter)
    kept = remainder_dtype(dtype, rounding)
    if kept is None or kept == "float32":
        return None if kept is None else value
    magnitude = _magnitude(xp.bitwise_and(xp.view(value, "int32"), 0x7FFFFFFF), dtype, xp)
    code = xp.bitwise_and(xp.cast(xp.view(parameter, "int16"), "int32"), 0x7FFF)
    remainder = np.where(code < _INFINITY[dtype], magnitude - xp.bitwise_left_shift(code, 16), 0)
    if kept == "int8":
        remainder = xp.bitwise_right_shift(remainder + 0x80, 8)
    limits = np.iinfo(kept)
    return np.clip(remainder, limits.min, limits.max).astype(kept)


def random_key(seed: int, step: Scalar, index: Any, xp: Any) -> Array:
    """What the random bits of one step of one parameter start from: they are a function of it and of the position.

    Args:
        seed: 0 <= seed < 2³².
        step: t, a whole number: of Python, or a 0-d integer array.
        index: The parameter's place among the parameters of its optimizer, from 0; or (n,) int32, those of n of them.
        xp: `numpy`, `jax.numpy`, `torch` or `keras.ops`.

    Returns:
        (1,) int32; or (n,).
    """
    xp = arrays.namespace(xp)
    if isinstance(step, int):
        step = _signed(step)
    # In one dimension: NumPy warns of overflow in numbers, not in arrays.
    step = xp.reshape(xp.cast(step, "int32"), (1,))
    start = mixed(step * 0 + _signed(seed + 0x9E3779B9), xp)  # 2³² / golden ratio: 0 would stay 0
    for number in (step, index):
        start = mixed(xp.bitwise_xor(start, number), xp)
    return start


def _random_16_bits(key: Array, like: Array, xp: Any) -> Array:
    """0 … 65535 for each element, from its position alone: no state, no order, the same for any number of threads."""
    bits = mixed(xp.positions(like) + key, xp)
    return xp.reshape(xp.bitwise_and(bits, 0xFFFF), like.shape)


def mixed(number: Array, xp: Any) -> Array:
    """An int32 made random: each bit of the result depends on every bit of the number (Wellons' lowbias32).

    https://nullprogram.com/blog/2018/07/31/, "Prospecting for Hash Functions".
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        number = xp.bitwise_xor(number, _logical_right_shift(number, shift, xp)) * _signed(factor)
    return xp.bitwise_xor(number, _logical_right_shift(number, 16, xp))


def _logical_right_shift(number: Array, count: int, xp: Any) -> Array:
    return xp.bitwise_and(xp.bitwise_right_shift(number, count), (1 << 32 - count) - 1)


def _magnitude(magnitude: Array, dtype: str, xp: Any) -> Array:
    """|value| in units of 2⁻¹⁶ ulp: the narrow bit pattern, followed by 16 more bits. NaN is infinite.

    Args:
        magnitude: (…,) int32, the bits of |value|.
        dtype: "bfloat16" or "float16".
        xp: The namespace.
    """
    if dtype == "bfloat16":
        return xp.minimum(magnitude, 0x7F800000)
    # float16's exponents begin 112 lower; below the smallest normal number its neighbours are 2⁻²⁴ apart.
    normal = xp.bitwise_left_shift(xp.minimum(magnitude, 143 << 23) - (112 << 23), 3)
    small = xp.view(xp.minimum(magnitude, _SMALLEST_NORMAL), "float32") * 2.0**40
    return xp.where(magnitude < _SMALLEST_NORMAL, xp.cast(small, "int32"), normal)


def _signed(number: int) -> int:
    """The int32 with the bits of a whole number modulo 2³²."""
    return (number + 2**31) % 2**32 - 2**31


def _name(array: Array) -> str:
    return str(getattr(array.dtype, "name", array.dtype)).removeprefix("torch.")
