"""The source of int8 moments in the CPU kernel: `adamkit.moments`, a block at a time, in vectors.

Left to itself, the compiler makes poor code of loops over 64 elements that end in a maximum. So these are written as
what they should become: a block is four vectors of 16 numbers, which stay in registers from the first operation to the
last. LLVM cuts the vectors to the width that the processor has.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from adamkit.moments import BLOCK

LANES = 16
SHIFT, CODES = {"first": 20, "second": 19}, {"first": 128, "second": 256}  # as in `adamkit.moments`
_MAGNITUDE, _INFINITY, _NAN, _NORMAL = 0x7FFFFFFF, 0x7F800000, 0x7FC00000, 0x00800000

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES, _WORDS = ir.VectorType(_I8, LANES), ir.VectorType(_I32, LANES)


def decode_block(which: str) -> Any:
    """A function for Numba of three addresses: of BLOCK codes, of their scale, of where the float32 are to be."""

    @intrinsic
    def decode(typing_context: Any, codes: Any, scale: Any, target: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            codes, scale, target = arguments
            scale = builder.zext(_load(builder, scale, _I8), _I32)
            base = _splat(builder, _base(builder, scale, which))
            is_nan = _splat(builder, builder.icmp_unsigned("==", scale, _I32(255)))
            for part in range(BLOCK // LANES):
                code = builder.zext(_load(builder, codes, _BYTES, part), _WORDS)
                magnitude = builder.and_(code, _constant(CODES[which] - 1))
                bits = builder.add(builder.shl(magnitude, _constant(SHIFT[which])), base)
                bits = builder.select(builder.icmp_unsigned("==", magnitude, _constant(0)), _constant(0), bits)
                bits = builder.select(is_nan, _constant(_NAN), bits)
                if which == "first":
                    sign = builder.shl(builder.and_(code, _constant(0x80)), _constant(24))
                    bits = builder.or_(bits, sign)
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
            exponent = builder.lshr(_largest(builder, raised), _I32(23))
            _store(builder, builder.trunc(exponent, _I8), scale)
            base = _splat(builder, _base(builder, exponent, which))
            for part in parts:
                code = builder.ashr(builder.sub(raised[part], base), _constant(SHIFT[which]))
                code = _maximum(builder, code, _constant(0 if which == "first" else 1))
                code = builder.select(builder.icmp_unsigned("==", raised[part], _constant(0)), _constant(0), code)
                if which == "first":
                    sign = builder.and_(builder.lshr(bits[part], _constant(24)), _constant(0x80))
                    code = builder.or_(code, sign)
                _store(builder, builder.trunc(code, _BYTES), codes, part)
            return context.get_dummy_value()

        return types.none(values, random, codes, scale), generate

    return encode


def _raised(builder: Any, bits: Any, random: Any, which: str) -> Any:
    """The magnitude plus a random part of what its code will leave out; 0 for zeros and denormal numbers."""
    magnitude = builder.and_(bits, _constant(_MAGNITUDE))
    magnitude = _minimum(builder, magnitude, _constant(_INFINITY))
    chance = builder.and_(random, _constant(0xFFFF)) if which == "first" else builder.lshr(random, _constant(16))
    raised = builder.add(magnitude, builder.shl(chance, _constant(SHIFT[which] - 16)))
    return builder.select(builder.icmp_signed("<", magnitude, _constant(_NORMAL)), _constant(0), raised)


def _base(builder: Any, scale: Any, which: str) -> Any:
    """`moments._base`, of an int32."""
    return builder.sub(builder.shl(builder.add(scale, _I32(1)), _I32(23)), _I32(CODES[which] << SHIFT[which]))


def _largest(builder: Any, vectors: list[Any]) -> Any:
    """The largest int32 of some vectors."""
    largest = vectors[0]
    for vector in vectors[1:]:
        largest = _maximum(builder, largest, vector)
    name = f"llvm.vector.reduce.smax.v{LANES}i32"
    reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, [_WORDS]), name)
    return builder.call(reduce, [largest])


def _maximum(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _minimum(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def _constant(value: int) -> Any:
    return ir.Constant(_WORDS, [value] * LANES)


def _splat(builder: Any, value: Any) -> Any:
    """A vector of one number."""
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(_WORDS, [0] * LANES))


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
