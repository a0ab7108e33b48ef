"""The forms of numbers in memory, for Numba: for each a pair of functions, one that widens and one that narrows.

load(address, beside, i, n, room) gives a pointer to elements i to i + n of what lies at `address`, at full width: the
very elements, or copies in `room`. store(address, beside, i, n, room, …) puts such copies back. `beside` is the
address of the remainders or of the scales. The moments' store has two more arguments: where there are random bits,
and t. The parameters' has one: the key of their random bits.
"""

# pyright: reportCallIssue=false
# Numba gives the functions that generate code their first argument itself.

import functools
from typing import Any

import numpy as np
from numba import types

from adamkit.kernels.cpu.blocks import decode_block, encode_block
from adamkit.kernels.cpu.primitives import (
    bits_of_float,
    f32,
    float_of_bits,
    float_to_half,
    half_to_float,
    i32,
    inlined,
    pointer,
    scratch,
    u32,
)
from adamkit.moments import BLOCK
from adamkit.rounding import NARROW

_INFINITY = 0x7F800000  # of float32, as bits; above it are NaN
_MAGNITUDE = 0x7FFFFFFF
_INFINITE_CODE = {"bfloat16": 0x7F80, "float16": 0x7C00}
_NAN_CODE = {"bfloat16": 0x7FC0, "float16": 0x7E00}
_SMALLEST_NORMAL = 113 << 23  # 2⁻¹⁴, the smallest normal float16, as float32 bits


@functools.cache
def _wide(real: Any) -> Any:
    """Full width: nothing is copied."""
    size = np.dtype(real.name).itemsize

    def load(address, beside, i, n, room):
        return pointer(address + i * size, real)

    return inlined(load)


@inlined
def _store_nothing(address, beside, i, n, room, noise, step):
    pass


@functools.cache
def moment_storage(storage: str, real: Any, which: str) -> tuple[Any, Any]:
    """`adamkit.moments`."""
    if storage == "bfloat16":
        return _bfloat16_moment()
    return _int8_moment(which) if storage == "int8" else (_wide(real), _store_nothing)


def _bfloat16_moment() -> tuple[Any, Any]:
    """`moments.round_to_bfloat16`."""

    def load(address, beside, i, n, room):
        source, target = pointer(address + 2 * i, types.uint16), pointer(room, i32)
        for j in range(n):
            target[j] = i32(source[j]) << 16
        return pointer(room, f32)

    def store(address, beside, i, n, room, noise, step):
        source, target = pointer(room, i32), pointer(address + 2 * i, types.uint16)
        offset = i32((step * 40503) & 0xFFFF)
        for j in range(n):
            bits = source[j]
            rounded = i32(bits + offset)
            target[j] = (rounded if (bits & _INFINITY) != _INFINITY else bits) >> 16

    return inlined(load), inlined(store)


def _int8_moment(which: str) -> tuple[Any, Any]:
    """`moments.decode_first` and `encode_first`, or `_second`."""
    decode, encode = decode_block(which), encode_block(which)

    def load(address, beside, i, n, room):
        address, beside, whole = address + i, beside + i // BLOCK, n // BLOCK * BLOCK
        for begin in range(0, whole, BLOCK):
            decode(address + begin, beside + begin // BLOCK, room + 4 * begin)
        if whole < n:  # the end of the tensor: a block that is not full
            block = scratch()
            _copy(address + whole, block, n - whole)
            decode(block, beside + whole // BLOCK, room + 4 * whole)
        return pointer(room, f32)

    def store(address, beside, i, n, room, noise, step):
        address, beside, whole = address + i, beside + i // BLOCK, n // BLOCK * BLOCK
        for begin in range(0, whole, BLOCK):
            encode(room + 4 * begin, noise + 4 * begin, address + begin, beside + begin // BLOCK)
        if whole < n:
            block, bits = scratch(), pointer(room, i32)
            for j in range(n, whole + BLOCK):
                bits[j] = 0
            encode(room + 4 * whole, noise + 4 * whole, block, beside + whole // BLOCK)
            _copy(block, address + whole, n - whole)

    return inlined(load), inlined(store)


@inlined
def _copy(source, target, n):
    """So many bytes."""
    old, new = pointer(source, types.uint8), pointer(target, types.uint8)
    for j in range(n):
        new[j] = old[j]


@functools.cache
def random_bits(storage: str) -> Any:
    """`moments._random_16_bits` for both moments: 32 bits for each element."""
    if storage != "int8":
        return inlined(lambda i, n, room, step: None)

    def draw(i, n, room, step):
        target, start = pointer(room, i32), i32(i32(step * -0x61C88647) + i)
        for j in range(n):
            target[j] = _mixed(i32(start + j))

    return inlined(draw)


@functools.cache
def parameter_storage(dtype: str, real: Any, rounding: str) -> tuple[Any, Any]:
    """`adamkit.rounding`: `restore` and `store`."""
    if dtype not in NARROW:
        return _wide(real), inlined(lambda address, beside, i, n, room, key: None)
    if rounding == "nearest":
        return _widen(dtype), _nearest(dtype)
    if rounding == "stochastic":
        return _widen(dtype), _by_code(dtype, rounding)
    if dtype == "float16" and rounding == "compensated":
        return _float16_and_float32()
    return _restore(dtype, rounding), _by_code(dtype, rounding)


def _widen(dtype: str) -> Any:
    half = dtype == "float16"

    def load(address, beside, i, n, room):
        source, target, bits = pointer(address + 2 * i, types.uint16), pointer(room, f32), pointer(room, i32)
        for j in range(n):
            if half:
                target[j] = half_to_float(source[j])
            else:
                bits[j] = i32(source[j]) << 16
        return target

    return inlined(load)


def _nearest(dtype: str) -> Any:
    half = dtype == "float16"

    def store(address, beside, i, n, room, key):
        source, bits, target = pointer(room, f32), pointer(room, i32), pointer(address + 2 * i, types.uint16)
        for j in range(n):
            if half:
                target[j] = float_to_half(source[j])
            else:
                b = bits[j]
                rounded = i32(b + 0x7FFF + ((b >> 16) & 1)) >> 16  # ties to even
                target[j] = rounded if (b & _MAGNITUDE) <= _INFINITY else 0x7FC0

    return inlined(store)


def _float16_and_float32() -> tuple[Any, Any]:
    """float16 with the float32 itself beside it, which counts where it rounds to the parameter."""

    def load(address, beside, i, n, room):
        source, exact = pointer(address + 2 * i, types.uint16), pointer(beside + 4 * i, f32)
        target = pointer(room, f32)
        for j in range(n):
            unchanged = float_to_half(exact[j]) == source[j]
            target[j] = exact[j] if unchanged else half_to_float(source[j])
        return target

    def store(address, beside, i, n, room, key):
        source, target = pointer(room, f32), pointer(address + 2 * i, types.uint16)
        exact = pointer(beside + 4 * i, f32)
        for j in range(n):
            target[j] = float_to_half(source[j])
            exact[j] = source[j]

    return inlined(load), inlined(store)


def _restore(dtype: str, rounding: str) -> Any:
    half, infinity = dtype == "float16", _INFINITE_CODE[dtype]
    rest = types.int8 if rounding == "compensated8" else types.int16
    size, unit = (1, 256) if rounding == "compensated8" else (2, 1)

    def load(address, beside, i, n, room):
        source, fraction = pointer(address + 2 * i, types.uint16), pointer(beside + size * i, rest)
        target = pointer(room, i32)
        for j in range(n):
            bits = i32(source[j])
            code = i32(bits & 0x7FFF)
            magnitude = max(i32((code << 16) + fraction[j] * unit), i32(0))
            if half:
                small = bits_of_float(f32(f32(magnitude) * f32(2.0**-40)))
                magnitude = small if magnitude < 1 << 26 else i32((magnitude >> 3) + (112 << 23))
                wide = bits_of_float(half_to_float(source[j]))
            else:
                wide = i32(bits << 16)
            target[j] = i32(magnitude | ((bits & 0x8000) << 16)) if code < infinity else wide
        return pointer(room, f32)

    return inlined(load)


def _by_code(dtype: str, rounding: str) -> Any:
    """Of the roundings that work on the narrow bit pattern followed by 16 more bits."""
    half, infinity, nan = dtype == "float16", _INFINITE_CODE[dtype], _NAN_CODE[dtype]
    stochastic, eight = rounding == "stochastic", rounding == "compensated8"
    rest = types.int8 if eight else types.int16
    size = 1 if eight else 2

    def store(address, beside, i, n, room, key):
        source, target = pointer(room, i32), pointer(address + 2 * i, types.uint16)
        fraction = pointer(beside + size * i, rest)
        start = i32(key + i)
        for j in range(n):
            bits = source[j]
            absolute = i32(bits & _MAGNITUDE)
            magnitude = min(absolute, i32(_INFINITY))
            if half:  # float16's exponents begin 112 lower; below the smallest normal number neighbours are 2⁻²⁴ apart
                small = i32(f32(float_of_bits(min(absolute, i32(_SMALLEST_NORMAL))) * f32(2.0**40)))
                normal = i32(i32(min(absolute, i32(143 << 23)) - (112 << 23)) << 3)
                magnitude = small if absolute < _SMALLEST_NORMAL else normal
            if stochastic:
                code = i32(i32(magnitude + (_mixed(i32(start + j)) & 0xFFFF)) >> 16)
            else:
                if eight:
                    magnitude = i32(i32(magnitude + (_mixed(i32(start + j)) & 0xFF)) & -0x100)
                code = i32(i32(magnitude + 0x8000) >> 16)
                remainder = i32(magnitude - (code << 16))
                remainder = i32(remainder >> 8) if eight else remainder
                fraction[j] = remainder if code < infinity else 0
            code = i32(nan) if absolute > _INFINITY else code
            target[j] = code | ((bits >> 16) & 0x8000)

    return inlined(store)


@inlined
def _mixed(number):
    """`rounding._mixed`: an int32 made random."""
    mixed = u32(number)
    mixed = u32(u32(mixed ^ (mixed >> 16)) * u32(0x7FEB352D))
    mixed = u32(u32(mixed ^ (mixed >> 15)) * u32(0x846CA68B))
    return i32(mixed ^ (mixed >> 16))
