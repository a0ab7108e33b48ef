"""What Python lacks for the kernel: pointers from addresses, scratch memory, prefetching, an atomic counter, bits."""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CHUNK = 512  # elements that are widened at once: with random bits, up to six arrays of 2 kB, which a first cache holds

i32, u32, f32 = types.int32, types.uint32, types.float32


@intrinsic
def pointer(typing_context: Any, address: Any, element_type: Any) -> Any:
    """The int64 `address` as a pointer to elements of a type."""
    kind = types.CPointer(element_type.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(types.int64, element_type), generate


@intrinsic
def take_ticket(typing_context: Any, counter: Any) -> Any:
    """The number at `counter`, which is then one more: no two threads get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", arguments[0], one, "monotonic")

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic
def scratch(typing_context: Any) -> Any:
    """The int64 address of `CHUNK` float32 on the stack of the calling function."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            memory = builder.alloca(context.get_value_type(types.float32), size=CHUNK)
        memory.align = 64
        return builder.ptrtoint(memory, context.get_value_type(types.int64))

    return types.int64(), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Bring the cache line at the int64 `address`, which is to be written, near; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, i32_ = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (byte, i32_, i32_, i32_))
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_write, keep, data = (i32_(number) for number in (1, 3, 1))
        builder.call(function, (builder.inttoptr(arguments[0], byte), to_write, keep, data))
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def half_to_float(typing_context: Any, bits: Any) -> Any:
    """The float32 of a float16, given as uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def float_to_half(typing_context: Any, value: Any) -> Any:
    """The nearest float16 (ties to even) of a float32, as uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic
def bits_of_float(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@intrinsic
def float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 of some int32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def inlined(function: Any, **options: Any) -> Any:
    """The function for Numba, as part of those that call it; not to be called from Python."""
    compile_for: Any = numba.njit  # its type stub knows not all options
    own = {"forceinline": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return compile_for(**own, **options)(function)


def written_out(function: Any) -> Any:
    """The function for Numba, its lines in the place of a call: compiled once, where `inlined` compiles it twice."""
    compile_for: Any = numba.njit
    return compile_for(inline="always", error_model="numpy")(function)


def _plus(x, y):
    """The sum, as a part of a longer one, whose numbers may be added in any order: so it is done in vectors."""
    return x + y


plus_in_any_order = inlined(_plus, fastmath={"reassoc", "nsz"})


@inlined
def tensor_at(job, starts, tensors, position):
    """The tensor of a job that holds a position among all elements, by bisection of where they start."""
    tensor, beyond = 0, tensors
    while beyond - tensor > 1:
        middle = (tensor + beyond) // 2
        if job[starts + middle] <= position:
            tensor = middle
        else:
            beyond = middle
    return tensor
