"""The forms of numbers in memory, for Triton: what is stored as float32, and float32 as what is stored.

The same integers as `adamkit.moments` and `adamkit.rounding`, on a tile of (blocks, BLOCK) elements. bfloat16 is only
ever seen as the int16 of its bits. What a mask leaves out is 0 on the way in and left alone on the way out.
"""

# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# A constant of a kernel is any Python object.

from adamkit import moments
from adamkit.kernels.gpu.triton import tl, triton

BLOCK = tl.constexpr(moments.BLOCK)
_MAGNITUDE = tl.constexpr(0x7FFFFFFF)
_INFINITY = tl.constexpr(0x7F800000)  # of float32, as bits; above it are NaN
_NAN = tl.constexpr(0x7FC00000)
_NORMAL = tl.constexpr(0x00800000)  # the smallest normal float32
_SMALLEST_NORMAL = tl.constexpr(113 << 23)  # 2⁻¹⁴, the smallest normal float16, as float32 bits
_GOLDEN = tl.constexpr(0x9E3779B9)  # 2³² / golden ratio


@triton.jit
def load(address, begin, left, places, DTYPE: tl.constexpr, FAST: tl.constexpr):
    """A tile of the tensor at an address: the elements at `places` from `begin` on, of which there are `left`.

    FAST: the address is a multiple of 16 bytes and `left` one of 4, so that a thread may read 4 elements at once.
    """
    first = address.to(tl.pointer_type(DTYPE)) + begin
    if FAST:
        first, left = tl.multiple_of(first, 16), left // 4 * 4
    return tl.load(first + places, mask=places < left, other=0)


@triton.jit
def store(values, address, begin, left, places, DTYPE: tl.constexpr, FAST: tl.constexpr):
    """The way back of `load`."""
    first = address.to(tl.pointer_type(DTYPE)) + begin
    if FAST:
        first, left = tl.multiple_of(first, 16), left // 4 * 4
    tl.store(first + places, values.to(DTYPE), mask=places < left)


@triton.jit
def mixed(number):
    """`rounding.mixed`: a uint32 made random."""
    number = (number ^ (number >> 16)) * 0x7FEB352D
    number = (number ^ (number >> 15)) * 0x846CA68B
    return number ^ (number >> 16)


@triton.jit
def parameter_key(seed, number, index):
    """`rounding.random_key`."""
    start = mixed(seed.to(tl.uint32) + _GOLDEN)
    return mixed(mixed(start ^ number.to(tl.uint32)) ^ index.to(tl.uint32))


@triton.jit
def moment_noise(number, begin, places):
    """Of each element 32 random bits, of which the int8 codes of m and of v take a half each."""
    return mixed(places.to(tl.uint32) + begin.to(tl.uint32) + number.to(tl.uint32) * _GOLDEN)


# Parameters and gradients --------------------------------------------------------------------------------------------


@triton.jit
def load_real(address, begin, left, places, STORED: tl.constexpr, FAST: tl.constexpr):
    """float32, or bfloat16 or float16 widened."""
    if STORED == "float32":
        return load(address, begin, left, places, tl.float32, FAST)
    return _widened(load(address, begin, left, places, tl.int16, FAST), STORED)


@triton.jit
def _widened(code, STORED: tl.constexpr):
    """The float32 of a narrow number's bits."""
    if STORED == "bfloat16":
        return (code.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return code.to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def restored(
    parameter,
    beside,
    begin,
    left,
    places,
    STORED: tl.constexpr,
    ROUNDING: tl.constexpr,
    FAST: tl.constexpr,
):
    """`rounding.restore`: the float32 that a parameter and its remainder stand for."""
    if STORED == "float32" or (ROUNDING == "nearest" or ROUNDING == "stochastic"):
        return load_real(parameter, begin, left, places, STORED, FAST)
    code = load(parameter, begin, left, places, tl.int16, FAST)
    wide = _widened(code, STORED)
    if STORED == "float16" and ROUNDING == "compensated":
        exact = load(beside, begin, left, places, tl.float32, FAST)
        return tl.where(exact.to(tl.float16).to(tl.int16, bitcast=True) == code, exact, wide)
    if ROUNDING == "compensated":
        fraction = load(beside, begin, left, places, tl.int16, FAST).to(tl.int32)
    else:
        fraction = load(beside, begin, left, places, tl.int8, FAST).to(tl.int32) * 256
    sign = code.to(tl.int32) & -0x80000000
    code = code.to(tl.int32) & 0x7FFF
    magnitude = tl.maximum((code << 16) + fraction, 0)
    if STORED == "float16":
        small = (magnitude.to(tl.float32) * 2.0**-40).to(tl.int32, bitcast=True)
        magnitude = tl.where(magnitude < 1 << 26, small, (magnitude >> 3) + (112 << 23))
        finite = code < 0x7C00
    else:
        finite = code < 0x7F80
    return tl.where(finite, (magnitude | sign).to(tl.float32, bitcast=True), wide)


@triton.jit
def store_parameter(
    theta,
    parameter,
    beside,
    key,
    begin,
    left,
    places,
    STORED: tl.constexpr,
    ROUNDING: tl.constexpr,
    FAST: tl.constexpr,
):
    """`rounding.store`."""
    if STORED == "float32":
        store(theta, parameter, begin, left, places, tl.float32, FAST)
    elif STORED == "float16" and (ROUNDING == "nearest" or ROUNDING == "compensated"):
        store(theta.to(tl.float16).to(tl.int16, bitcast=True), parameter, begin, left, places, tl.int16, FAST)
        if ROUNDING == "compensated":
            store(theta, beside, begin, left, places, tl.float32, FAST)
    else:
        bits = theta.to(tl.int32, bitcast=True)
        absolute = bits & _MAGNITUDE
        if ROUNDING == "nearest":
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # ties to even
            code = tl.where(absolute <= _INFINITY, rounded, 0x7FC0)
        else:
            magnitude = _in_units(absolute, STORED)
            if ROUNDING == "stochastic":
                code = (magnitude + (_noise(key, begin, places) & 0xFFFF)) >> 16
            else:
                if ROUNDING == "compensated8":
                    magnitude = (magnitude + (_noise(key, begin, places) & 0xFF)) & -0x100
                code = (magnitude + 0x8000) >> 16
                remainder = magnitude - (code << 16)
                if STORED == "float16":
                    remainder = tl.where(code < 0x7C00, remainder, 0)
                else:
                    remainder = tl.where(code < 0x7F80, remainder, 0)
                if ROUNDING == "compensated8":
                    store(remainder >> 8, beside, begin, left, places, tl.int8, FAST)
                else:
                    store(remainder, beside, begin, left, places, tl.int16, FAST)
            if STORED == "float16":
                code = tl.where(absolute > _INFINITY, 0x7E00, code)
            else:
                code = tl.where(absolute > _INFINITY, 0x7FC0, code)
            code = code | ((bits >> 16) & 0x8000)
        store(code, parameter, begin, left, places, tl.int16, FAST)


@triton.jit
def _in_units(absolute, STORED: tl.constexpr):
    """|θ|, as bits, in units of 2⁻¹⁶ of the stored type's last place: its code, followed by 16 more bits."""
    if STORED == "bfloat16":
        return tl.minimum(absolute, _INFINITY)
    # float16's exponents begin 112 lower; below the smallest normal number neighbours are 2⁻²⁴ apart.
    small = tl.minimum(absolute, _SMALLEST_NORMAL).to(tl.float32, bitcast=True) * 2.0**40
    normal = (tl.minimum(absolute, 143 << 23) - (112 << 23)) << 3
    return tl.where(absolute < _SMALLEST_NORMAL, small.to(tl.int32), normal)


@triton.jit
def _noise(key, begin, places):
    return mixed(key + begin.to(tl.uint32) + places.to(tl.uint32)).to(tl.int32, bitcast=True)


# Moments -------------------------------------------------------------------------------------------------------------


@triton.jit
def load_moment(
    address,
    scales,
    begin,
    left,
    places,
    STORED: tl.constexpr,
    FIRST: tl.constexpr,
    FAST: tl.constexpr,
):
    """`moments.decode_first` where FIRST, or `decode_second`; or float32, or bfloat16."""
    if STORED == "int8":
        shift: tl.constexpr = 20 if FIRST else 19
        codes: tl.constexpr = 128 if FIRST else 256
        code = load(address, begin, left, places, tl.uint8, FAST).to(tl.int32)
        pointers, there = _scales(scales, begin, left, places)
        scale = tl.load(pointers, mask=there, other=0).to(tl.int32)[:, None]
        magnitude = code & (codes - 1)
        bits = tl.where(magnitude == 0, 0, (magnitude << shift) + _base(scale, shift, codes))
        bits = tl.where(scale == 255, _NAN, bits)
        if FIRST:
            bits = bits | ((code & 0x80) << 24)
        return bits.to(tl.float32, bitcast=True)
    return load_real(address, begin, left, places, STORED, FAST)


@triton.jit
def store_moment(
    moment,
    address,
    scales,
    noise,
    number,
    begin,
    left,
    places,
    STORED: tl.constexpr,
    FIRST: tl.constexpr,
    FAST: tl.constexpr,
):
    """`moments.encode_first` where FIRST, or `encode_second`; or float32, or `round_to_bfloat16`."""
    if STORED == "float32":
        store(moment, address, begin, left, places, tl.float32, FAST)
    elif STORED == "bfloat16":
        bits = moment.to(tl.int32, bitcast=True)
        offset = (number * 40503) & 0xFFFF  # 2¹⁶ / golden ratio, rounded
        rounded = tl.where((bits & _INFINITY) != _INFINITY, bits + offset, bits) >> 16
        store(rounded, address, begin, left, places, tl.int16, FAST)
    else:
        shift: tl.constexpr = 20 if FIRST else 19
        codes: tl.constexpr = 128 if FIRST else 256
        bits = moment.to(tl.int32, bitcast=True)
        magnitude = tl.where(places < left, tl.minimum(bits & _MAGNITUDE, _INFINITY), 0)
        chance = noise & 0xFFFF if FIRST else noise >> 16
        raised = magnitude + (chance.to(tl.int32) << (shift - 16))
        raised = tl.where(magnitude < _NORMAL, 0, raised)
        scale = tl.max(raised >> 23, axis=1)
        code = (raised - _base(scale, shift, codes)[:, None]) >> shift
        if FIRST:
            code = tl.where(raised == 0, 0, tl.maximum(code, 0)) | ((bits >> 24) & 0x80)
        else:
            code = tl.where(raised == 0, 0, tl.maximum(code, 1))
        store(code, address, begin, left, places, tl.uint8, FAST)
        pointers, there = _scales(scales, begin, left, places)
        tl.store(pointers, scale.to(tl.uint8), mask=there)


@triton.jit
def _base(scale, SHIFT: tl.constexpr, CODES: tl.constexpr):
    """`moments._base`."""
    return ((scale + 1) << 23) - (CODES << SHIFT)


@triton.jit
def _scales(address, begin, left, places):
    """Where the scales of a tile's blocks lie, and which of them the tensor has."""
    rows = tl.arange(0, places.shape[0])
    return address.to(tl.pointer_type(tl.uint8)) + begin // BLOCK + rows, rows * BLOCK < left
