"""The source of a kernel that looks for numbers that are not finite, for Numba."""

# pyright: reportCallIssue=false
# Numba gives the functions that generate code their first argument itself.

from typing import Any

from numba import types

from adamkit.kernels.cpu.job import COEFFICIENTS, HEADER, PIECE, TENSORS
from adamkit.kernels.cpu.primitives import pointer, take_ticket, tensor_at

_BITS = {  # each dtype as integers, and the bits of its exponent, which only infinity and NaN have all
    "float32": (types.int32, 0x7F800000),
    "float64": (types.int64, 0x7FF0000000000000),
    "bfloat16": (types.int16, 0x7F80),
    "float16": (types.int16, 0x7C00),
}


def build(dtype: str) -> Any:
    """The kernel for tensors of one dtype: of a job with one column, it sets a byte for each that has such a number.

    The bytes are where another job has its coefficients.
    """
    whole, exponent = _BITS[dtype]

    def kernel(job):
        tensors, piece = job[TENSORS], job[PIECE]
        found = pointer(job[COEFFICIENTS], types.uint8)
        sizes = HEADER + tensors
        starts = sizes + tensors
        total = job[starts + tensors]
        while True:
            begin = take_ticket(job) * piece
            if begin >= total:
                return
            end = min(begin + piece, total)
            tensor = tensor_at(job, starts, tensors, begin)
            while begin < end:
                first = begin - job[starts + tensor]
                stop = min(end - job[starts + tensor], job[sizes + tensor])
                begin = job[starts + tensor + 1]
                bits = pointer(job[HEADER + tensor], whole)
                bad = 0
                for i in range(first, stop):
                    bad |= (bits[i] & exponent) == exponent
                if bad:
                    found[tensor] = 1
                tensor += 1

    return kernel
