"""The source of the CPU kernel, for Numba: `rule.update` for one element after another."""

from typing import Any

import numba  # noqa: F401  # registers the types used below
import numpy as np
from numba import types
from numba.extending import intrinsic

from adamkit.kernels.cpu import COEFFICIENTS, HEADER, PIECE, TENSORS


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


def build(element: str, amsgrad: bool) -> Any:
    """The kernel for one element type ("float32" or "float64"), with or without AMSGrad; see `cpu` for its job."""
    real = getattr(types, element)
    item_size = np.dtype(element).itemsize
    infinity = np.dtype(element).type(np.inf)

    def kernel(job):
        tensors, piece = job[TENSORS], job[PIECE]
        k = _pointer(job[COEFFICIENTS], real)  # pyright: ignore[reportCallIssue]
        step_size, epsilon, shrinkage, penalty, sign = k[0], k[1], k[2], k[3], k[4]
        first_forward, first_weight, second_forward, second_weight = k[5] != 0, k[6], k[7] != 0, k[8]
        starts = HEADER + 5 * tensors
        total = job[starts + tensors]
        while True:
            begin = _take_ticket(job) * piece  # pyright: ignore[reportCallIssue]
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
                stop = min(end, job[starts + tensor + 1])
                offset = (begin - job[starts + tensor]) * item_size
                address = HEADER + tensor
                parameter = _pointer(job[address] + offset, real)
                gradient = _pointer(job[address + tensors] + offset, real)
                first_moment = _pointer(job[address + 2 * tensors] + offset, real)
                second_moment = _pointer(job[address + 3 * tensors] + offset, real)
                max_second_moment = _pointer(job[address + 4 * tensors] + offset, real)
                for i in range(stop - begin):
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
                begin = stop
                tensor += 1

    return kernel
