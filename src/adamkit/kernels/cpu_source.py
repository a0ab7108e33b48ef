"""The source of the CPU kernel, for Numba: `rule.update` for one element after another.

The update itself knows full-width numbers only. What is stored narrow is widened a few hundred elements at a time into
scratch memory that stays in the first-level cache, updated there, and narrowed again; each of these is a short loop
that the compiler turns into vector instructions.
"""

# pyright: reportCallIssue=false
# Numba gives the functions that generate code their first argument itself.

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from adamkit.kernels.blocks_source import decode_block, encode_block
from adamkit.kernels.cpu import COEFFICIENTS, HEADER, PIECE, STEP, TENSORS, Form
from adamkit.moments import BLOCK
from adamkit.rounding import NARROW

CHUNK = 512  # elements that are widened at once: with random bits, up to six arrays of 2 kB, which a first cache holds

_INFINITY = 0x7F800000  # of float32, as bits; above it are NaN
_MAGNITUDE = 0x7FFFFFFF
_SIGN = -0x80000000
_INFINITE_CODE = {"bfloat16": 0x7F80, "float16": 0x7C00}
_NAN_CODE = {"bfloat16": 0x7FC0, "float16": 0x7E00}
_SMALLEST_NORMAL = 113 << 23  # 2⁻¹⁴, the smallest normal float16, as float32 bits
i32, u32, f32 = types.int32, types.uint32, types.float32


@intrinsic
def _pointer(typing_context: Any, address: Any, element_type: Any) -> Any:
    """The int64 `address` as a pointer to elements of a type."""
    pointer = types.CPointer(element_type.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, element_type), generate


@intrinsic
def _take_ticket(typing_context: Any, counter: Any) -> Any:
    """The number at `counter`, which is then one more: no two threads get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", arguments[0], one, "monotonic")

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic
def _scratch(typing_context: Any) -> Any:
    """The int64 address of `CHUNK` float32 on the stack of the calling function."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        memory = cgutils.alloca_once(builder, context.get_value_type(types.float32), size=CHUNK)
        memory.align = 64
        return builder.ptrtoint(memory, context.get_value_type(types.int64))

    return types.int64(), generate


@intrinsic
def _half_to_float(typing_context: Any, bits: Any) -> Any:
    """The float32 of a float16, given as uint16."""
    from llvmlite import ir

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def _float_to_half(typing_context: Any, value: Any) -> Any:
    """The nearest float16 (ties to even) of a float32, as uint16."""
    from llvmlite import ir

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@intrinsic
def _float(typing_context: Any, bits: Any) -> Any:
    """The float32 of some int32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def _inlined(function: Any) -> Any:
    compile_for: Any = numba.njit  # its type stub knows not all options
    return compile_for(forceinline=True, error_model="numpy")(function)


def build(form: Form) -> Any:
    """The kernel for one form; see `cpu` for its job."""
    real = types.float64 if form.parameter == "float64" else types.float32
    places = {name: place for place, name in enumerate(form.columns())}
    columns, amsgrad = len(places), form.amsgrad
    # Where a form has no such column, nothing looks at it.
    remainder, key, largest, first_scale, second_scale, largest_scale = (
        places.get(name, 0) for name in ("remainder", "key", "largest", "first_scale", "second_scale", "largest_scale")
    )
    load_theta, store_theta = _parameter(form.parameter, real, form.rounding)
    load_gradient, _ = _parameter(form.gradient or form.parameter, real, "nearest")
    load_first, store_first = _moment(form.moments, real, "first")
    load_second, store_second = _moment(form.moments, real, "second")
    draw = _random_bits(form.moments)
    update = _update(real, amsgrad)
    chunk = CHUNK if form.is_narrow() else 2**62

    def kernel(job):
        tensors, piece, step = job[TENSORS], job[PIECE], job[STEP]
        k = _pointer(job[COEFFICIENTS], real)
        sizes = HEADER + columns * tensors
        starts = sizes + tensors
        total = job[starts + tensors]
        room_1, room_2, room_3 = _scratch(), _scratch(), _scratch()
        room_4, room_5, room_6 = _scratch(), _scratch(), _scratch()
        while True:
            begin = _take_ticket(job) * piece
            if begin >= total:
                return
            end = min(begin + piece, total)
            tensor, beyond = 0, tensors  # the tensor that holds `begin`, by bisection
            while beyond - tensor > 1:
                middle = (tensor + beyond) // 2
                if job[starts + middle] <= begin:
                    tensor = middle
                else:
                    beyond = middle
            while begin < end:
                i = begin - job[starts + tensor]
                stop = min(end - job[starts + tensor], job[sizes + tensor])
                begin = job[starts + tensor + 1]
                at = HEADER + tensor
                parameter, gradient, first, second = (
                    job[at],
                    job[at + tensors],
                    job[at + 2 * tensors],
                    job[at + 3 * tensors],
                )
                rest, number = job[at + remainder * tensors], job[at + key * tensors]
                first_scales, second_scales = job[at + first_scale * tensors], job[at + second_scale * tensors]
                maximum, maximum_scales = job[at + largest * tensors], job[at + largest_scale * tensors]
                while i < stop:
                    n = min(stop - i, chunk)
                    theta = load_theta(parameter, rest, i, n, room_1)
                    g = load_gradient(gradient, 0, i, n, room_2)
                    m = load_first(first, first_scales, i, n, room_3)
                    v = load_second(second, second_scales, i, n, room_4)
                    largest_v = load_second(maximum, maximum_scales, i, n, room_5) if amsgrad else v
                    update(theta, g, m, v, largest_v, n, k)
                    store_theta(parameter, rest, i, n, room_1, number)
                    draw(i, n, room_6, step)
                    store_first(first, first_scales, i, n, room_3, room_6, step)
                    store_second(second, second_scales, i, n, room_4, room_6, step)
                    if amsgrad:
                        store_second(maximum, maximum_scales, i, n, room_5, room_6, step)
                    i += n
                tensor += 1

    return kernel


def _update(real: Any, amsgrad: bool) -> Any:
    """`rule.update` for n elements in a row."""
    infinity = np.dtype(real.name).type(np.inf)

    def update(parameter, gradient, first_moment, second_moment, max_second_moment, n, k):
        step_size, epsilon, shrinkage, penalty, sign = k[0], k[1], k[2], k[3], k[4]
        first_forward, first_weight, second_forward, second_weight = k[5] != 0, k[6], k[7] != 0, k[8]
        for i in range(n):
            theta = parameter[i]
            g = sign * gradient[i]
            if penalty != 0:
                g = g + penalty * theta
            m = first_moment[i]
            difference = g - m
            m = m + first_weight * difference if first_forward else g - first_weight * difference
            square = g * g
            v = second_moment[i]
            difference = square - v
            if v == infinity:
                v = v + square  # stays infinite, or NaN, as β₂·v + (1 - β₂)·g² does
            elif second_forward:
                v = v + second_weight * difference
            else:
                v = square - second_weight * difference
            first_moment[i] = m
            second_moment[i] = v
            if amsgrad:
                largest = max_second_moment[i]
                larger = v if v > largest else largest
                v = v if v != v else larger  # the maximum of NaN and a number is NaN
                max_second_moment[i] = v
            change = step_size * m / (np.sqrt(v) + epsilon)
            if shrinkage != 0:
                change = change + shrinkage * theta
            parameter[i] = theta - change

    return _inlined(update)


# How numbers are stored: pairs of functions -------------------------------------------------------------------------
#
# load(address, beside, i, n, room) gives a pointer to elements i to i + n of what lies at `address`, at full width: the
# very elements, or copies in `room`. store(address, beside, i, n, room, …) puts such copies back. `beside` is the
# address of the remainders or of the scales. The moments' store has two more arguments: where there are random bits,
# and t. The parameters' has one: the key of their random bits.


def _wide(real: Any) -> Any:
    """Full width: nothing is copied."""
    size = np.dtype(real.name).itemsize

    def load(address, beside, i, n, room):
        return _pointer(address + i * size, real)

    return _inlined(load)


@_inlined
def _store_nothing(address, beside, i, n, room, noise, step):
    pass


def _moment(storage: str, real: Any, which: str) -> tuple[Any, Any]:
    """`adamkit.moments`."""
    if storage == "bfloat16":
        return _bfloat16_moment()
    return _int8_moment(which) if storage == "int8" else (_wide(real), _store_nothing)


def _bfloat16_moment() -> tuple[Any, Any]:
    """`moments.round_to_bfloat16`."""

    def load(address, beside, i, n, room):
        source, target = _pointer(address + 2 * i, types.uint16), _pointer(room, i32)
        for j in range(n):
            target[j] = i32(source[j]) << 16
        return _pointer(room, f32)

    def store(address, beside, i, n, room, noise, step):
        source, target = _pointer(room, i32), _pointer(address + 2 * i, types.uint16)
        offset = i32((step * 40503) & 0xFFFF)
        for j in range(n):
            bits = source[j]
            rounded = i32(bits + offset)
            target[j] = (rounded if (bits & _INFINITY) != _INFINITY else bits) >> 16

    return _inlined(load), _inlined(store)


def _int8_moment(which: str) -> tuple[Any, Any]:
    """`moments.decode_first` and `encode_first`, or `_second`."""
    decode, encode = decode_block(which), encode_block(which)

    def load(address, beside, i, n, room):
        address, beside, whole = address + i, beside + i // BLOCK, n // BLOCK * BLOCK
        for begin in range(0, whole, BLOCK):
            decode(address + begin, beside + begin // BLOCK, room + 4 * begin)
        if whole < n:  # the end of the tensor: a block that is not full
            block = _scratch()
            _copy(address + whole, block, n - whole)
            decode(block, beside + whole // BLOCK, room + 4 * whole)
        return _pointer(room, f32)

    def store(address, beside, i, n, room, noise, step):
        address, beside, whole = address + i, beside + i // BLOCK, n // BLOCK * BLOCK
        for begin in range(0, whole, BLOCK):
            encode(room + 4 * begin, noise + 4 * begin, address + begin, beside + begin // BLOCK)
        if whole < n:
            block, bits = _scratch(), _pointer(room, i32)
            for j in range(n, whole + BLOCK):
                bits[j] = 0
            encode(room + 4 * whole, noise + 4 * whole, block, beside + whole // BLOCK)
            _copy(block, address + whole, n - whole)

    return _inlined(load), _inlined(store)


@_inlined
def _copy(source, target, n):
    """So many bytes."""
    old, new = _pointer(source, types.uint8), _pointer(target, types.uint8)
    for j in range(n):
        new[j] = old[j]


def _random_bits(storage: str) -> Any:
    """`moments._random_16_bits` for both moments: 32 bits for each element."""
    if storage != "int8":
        return _inlined(lambda i, n, room, step: None)

    def draw(i, n, room, step):
        target, start = _pointer(room, i32), i32(i32(step * -0x61C88647) + i)
        for j in range(n):
            target[j] = _mixed(i32(start + j))

    return _inlined(draw)


def _parameter(dtype: str, real: Any, rounding: str) -> tuple[Any, Any]:
    """`adamkit.rounding`: `restore` and `store`."""
    if dtype not in NARROW:
        return _wide(real), _inlined(lambda address, beside, i, n, room, key: None)
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
        source, target, bits = _pointer(address + 2 * i, types.uint16), _pointer(room, f32), _pointer(room, i32)
        for j in range(n):
            if half:
                target[j] = _half_to_float(source[j])
            else:
                bits[j] = i32(source[j]) << 16
        return target

    return _inlined(load)


def _nearest(dtype: str) -> Any:
    half = dtype == "float16"

    def store(address, beside, i, n, room, key):
        source, bits, target = _pointer(room, f32), _pointer(room, i32), _pointer(address + 2 * i, types.uint16)
        for j in range(n):
            if half:
                target[j] = _float_to_half(source[j])
            else:
                b = bits[j]
                rounded = i32(b + 0x7FFF + ((b >> 16) & 1)) >> 16  # ties to even
                target[j] = rounded if (b & _MAGNITUDE) <= _INFINITY else 0x7FC0

    return _inlined(store)


def _float16_and_float32() -> tuple[Any, Any]:
    """float16 with the float32 itself beside it, which counts where it rounds to the parameter."""

    def load(address, beside, i, n, room):
        source, exact = _pointer(address + 2 * i, types.uint16), _pointer(beside + 4 * i, f32)
        target = _pointer(room, f32)
        for j in range(n):
            unchanged = _float_to_half(exact[j]) == source[j]
            target[j] = exact[j] if unchanged else _half_to_float(source[j])
        return target

    def store(address, beside, i, n, room, key):
        source, target = _pointer(room, f32), _pointer(address + 2 * i, types.uint16)
        exact = _pointer(beside + 4 * i, f32)
        for j in range(n):
            target[j] = _float_to_half(source[j])
            exact[j] = source[j]

    return _inlined(load), _inlined(store)


def _restore(dtype: str, rounding: str) -> Any:
    half, infinity = dtype == "float16", _INFINITE_CODE[dtype]
    rest = types.int8 if rounding == "compensated8" else types.int16
    size, unit = (1, 256) if rounding == "compensated8" else (2, 1)

    def load(address, beside, i, n, room):
        source, fraction = _pointer(address + 2 * i, types.uint16), _pointer(beside + size * i, rest)
        target = _pointer(room, i32)
        for j in range(n):
            bits = i32(source[j])
            code = i32(bits & 0x7FFF)
            magnitude = max(i32((code << 16) + fraction[j] * unit), i32(0))
            if half:
                small = _bits(f32(f32(magnitude) * f32(2.0**-40)))
                magnitude = small if magnitude < 1 << 26 else i32((magnitude >> 3) + (112 << 23))
                wide = _bits(_half_to_float(source[j]))
            else:
                wide = i32(bits << 16)
            target[j] = i32(magnitude | ((bits & 0x8000) << 16)) if code < infinity else wide
        return _pointer(room, f32)

    return _inlined(load)


def _by_code(dtype: str, rounding: str) -> Any:
    """Of the roundings that work on the narrow bit pattern followed by 16 more bits."""
    half, infinity, nan = dtype == "float16", _INFINITE_CODE[dtype], _NAN_CODE[dtype]
    stochastic, eight = rounding == "stochastic", rounding == "compensated8"
    rest = types.int8 if eight else types.int16
    size = 1 if eight else 2

    def store(address, beside, i, n, room, key):
        source, target = _pointer(room, i32), _pointer(address + 2 * i, types.uint16)
        fraction = _pointer(beside + size * i, rest)
        start = i32(key + i)
        for j in range(n):
            bits = source[j]
            absolute = i32(bits & _MAGNITUDE)
            magnitude = min(absolute, i32(_INFINITY))
            if half:  # float16's exponents begin 112 lower; below the smallest normal number neighbours are 2⁻²⁴ apart
                small = i32(f32(_float(min(absolute, i32(_SMALLEST_NORMAL))) * f32(2.0**40)))
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

    return _inlined(store)


@_inlined
def _mixed(number):
    """`rounding._mixed`: an int32 made random."""
    mixed = u32(number)
    mixed = u32(u32(mixed ^ (mixed >> 16)) * u32(0x7FEB352D))
    mixed = u32(u32(mixed ^ (mixed >> 15)) * u32(0x846CA68B))
    return i32(mixed ^ (mixed >> 16))
