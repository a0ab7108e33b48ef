"""The source of int8 moments in the CPU kernel: `adamkit.moments`, a block at a time, in vectors.

Left to itself, the compiler makes poor code of loops over 64 elements that end in a maximum. So these are written as
what they should become, and a block stays in registers from the first operation to the last. Most of the work is done
on the upper 16 bits of the numbers, twice as many at once: all that a code and a scale keep is in these. LLVM cuts the
vectors to the width that the processor has.
"""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from adamkit.moments import BLOCK

LANES = 32
SHIFT, CODES = {"first": 20, "second": 19}, {"first": 128, "second": 256}  # as in `adamkit.moments`
_MAGNITUDE, _INFINITY, _NAN, _NORMAL = 0x7FFFFFFF, 0x7F800000, 0x7FC00000, 0x00800000

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _HALVES, _WORDS = (ir.VectorType(kind, LANES) for kind in (_I8, _I16, _I32))


def decode_block(which: str) -> Any:
    """A function for Numba of three addresses: of BLOCK codes, of their scale, of where the float32 are to be."""

    @intrinsic
    def decode(typing_context: Any, codes: Any, scale: Any, target: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            codes, scale, target = arguments
            scale = builder.zext(_load(builder, scale, _I8), _I16)
            base = _splat(builder, _base(builder, scale, which))
            is_nan = _splat(builder, builder.icmp_unsigned("==", scale, _I16(255)))
            for part in range(BLOCK // LANES):
                code = builder.zext(_load(builder, codes, _BYTES, part), _HALVES)
                magnitude = builder.and_(code, _constant(_HALVES, CODES[which] - 1))
                bits = builder.add(builder.shl(magnitude, _constant(_HALVES, SHIFT[which] - 16)), base)
                zero = _constant(_HALVES, 0)
                bits = builder.select(builder.icmp_unsigned("==", magnitude, zero), zero, bits)
                bits = builder.select(is_nan, _constant(_HALVES, _NAN >> 16), bits)
                if which == "first":
                    sign = builder.shl(builder.and_(code, _constant(_HALVES, 0x80)), _constant(_HALVES, 8))
                    bits = builder.or_(bits, sign)
                bits = builder.shl(builder.zext(bits, _WORDS), _constant(_WORDS, 16))
                _store(builder, bits, target, part)
            return context.get_dummy_value()

        return types.none(codes, scale, target), generate

    return decode


def encode_block(which: str) -> Any:
    """A function for Numba of four addresses: of BLOCK float32, of as many int32 of random bits, of codes and scale."""

    @intrinsic
    def encode(typing_context: Any, values: Any, random: Any, codes: Any, scale: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values, random, codes, scale = arguments
            parts = range(BLOCK // LANES)
            bits = [_load(builder, values, _WORDS, part) for part in parts]
            raised = [_raised(builder, bits[part], _load(builder, random, _WORDS, part), which) for part in parts]
            exponent = builder.lshr(_largest(builder, raised), _I16(7))
            _store(builder, builder.trunc(exponent, _I8), scale)
            base = _splat(builder, _base(builder, exponent, which))
            for part in parts:
                code = builder.ashr(builder.sub(raised[part], base), _constant(_HALVES, SHIFT[which] - 16))
                code = _maximum(builder, code, _constant(_HALVES, 0 if which == "first" else 1))
                zero = _constant(_HALVES, 0)
                code = builder.select(builder.icmp_unsigned("==", raised[part], zero), zero, code)
                if which == "first":
                    sign = builder.lshr(_upper_half(builder, bits[part]), _constant(_HALVES, 8))
                    code = builder.or_(code, builder.and_(sign, _constant(_HALVES, 0x80)))
                _store(builder, builder.trunc(code, _BYTES), codes, part)
            return context.get_dummy_value()

        return types.none(values, random, codes, scale), generate

    return encode


def _raised(builder: Any, bits: Any, random: Any, which: str) -> Any:
    """The magnitude plus a random part of what its code will leave out, upper half; 0 for denormal numbers."""
    magnitude = builder.and_(bits, _constant(_WORDS, _MAGNITUDE))
    infinity = _constant(_WORDS, _INFINITY)
    clipped = builder.select(builder.icmp_unsigned("<", magnitude, infinity), magnitude, infinity)
    if which == "first":
        chance = builder.and_(random, _constant(_WORDS, 0xFFFF))
    else:
        chance = builder.lshr(random, _constant(_WORDS, 16))
    raised = builder.add(clipped, builder.shl(chance, _constant(_WORDS, SHIFT[which] - 16)))
    small = builder.icmp_unsigned("<", magnitude, _constant(_WORDS, _NORMAL))
    return _upper_half(builder, builder.select(small, _constant(_WORDS, 0), raised))


def _upper_half(builder: Any, words: Any) -> Any:
    """The upper 16 bits of each number, by moving them and nothing else."""
    halves = builder.bitcast(words, ir.VectorType(_I16, 2 * LANES))
    odd = ir.Constant(_WORDS, list(range(sys.byteorder == "little", 2 * LANES, 2)))
    return builder.shuffle_vector(halves, ir.Constant(halves.type, ir.Undefined), odd)


def _base(builder: Any, scale: Any, which: str) -> Any:
    """`moments._base`, upper half."""
    return builder.sub(builder.shl(builder.add(scale, _I16(1)), _I16(7)), _I16(CODES[which] << SHIFT[which] - 16))


def _largest(builder: Any, vectors: list[Any]) -> Any:
    """The largest int16 of some vectors."""
    largest = vectors[0]
    for vector in vectors[1:]:
        largest = _maximum(builder, largest, vector)
    kind = ir.FunctionType(_I16, [_HALVES])
    reduce = builder.module.declare_intrinsic(f"llvm.vector.reduce.smax.v{LANES}i16", fnty=kind)
    return builder.call(reduce, [largest])


def _maximum(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * LANES)


def _splat(builder: Any, value: Any) -> Any:
    """A vector of one number."""
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), _constant(_WORDS, 0))


def _load(builder: Any, address: Any, kind: Any, part: int = 0) -> Any:
    loaded = builder.load(_place(builder, address, kind, part))
    loaded.align = _alignment(kind)
    return loaded


def _store(builder: Any, value: Any, address: Any, part: int = 0) -> None:
    builder.store(value, _place(builder, address, value.type, part)).align = _alignment(value.type)


def _place(builder: Any, address: Any, kind: Any, part: int) -> Any:
    """The address of one vector of a block, or of a single number."""
    return builder.inttoptr(builder.add(address, _I64(part * LANES * _alignment(kind))), kind.as_pointer())


def _alignment(kind: Any) -> int:
    """That of one element, in bytes."""
    return (kind.element if isinstance(kind, ir.VectorType) else kind).width // 8
