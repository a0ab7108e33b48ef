"""The source of the CPU kernel, for Numba: `rule.update` for one element after another.

The update itself knows full-width numbers only. What is stored narrow is widened a few hundred elements at a time into
scratch memory that stays in the first-level cache, updated there, and narrowed again; each of these is a short loop
that the compiler turns into vector instructions.
"""

# pyright: reportCallIssue=false
# Numba gives the functions that generate code their first argument itself.

import functools
import math
from typing import Any

import numpy as np
from numba import types

from adamkit import rule
from adamkit.kernels.cpu.job import (
    COEFFICIENTS,
    FIRST_SHARES,
    HEADER,
    LAST_STEPS,
    PIECE,
    ROWS,
    ROWS_HEADER,
    SECOND_SHARES,
    STEP,
    TENSORS,
    WIDTH,
)
from adamkit.kernels.cpu.primitives import (
    CHUNK,
    inlined,
    plus_in_any_order,
    pointer,
    prefetch,
    scratch,
    take_ticket,
    tensor_at,
    written_out,
)
from adamkit.kernels.cpu.storage import moment_storage, parameter_storage, random_bits
from adamkit.kernels.form import Form
from adamkit.variants import ADAM, Variant

_AHEAD = 8  # rows whose memory is on its way while one is stepped
_LINE = 64  # bytes that memory gives at once
_LINES = 8  # of a row that are asked for: where a longer one leads, the processor goes by itself


def build(form: Form) -> Any:
    """The kernel for one form; see `job` for what it is given."""
    places = {name: place for place, name in enumerate(form.columns())}
    columns = len(places)
    # Where a form has no such column, nothing looks at it.
    remainder, key, width, largest, first_scale, second_scale, largest_scale = (
        places.get(name, 0)
        for name in ("remainder", "key", "width", "largest", "first_scale", "second_scale", "largest_scale")
    )
    real, step_elements = _blocks(form) if form.variant.blockwise else _elements(form)
    one = np.dtype(real.name).type(1)

    def kernel(job):
        tensors, piece, step = job[TENSORS], job[PIECE], job[STEP]
        k = pointer(job[COEFFICIENTS], real)
        sizes = HEADER + columns * tensors
        starts = sizes + tensors
        total, left = job[starts + tensors], (one, one)
        rooms = scratch(), scratch(), scratch(), scratch(), scratch(), scratch()
        while True:
            begin = take_ticket(job) * piece
            if begin >= total:
                return
            end = min(begin + piece, total)
            tensor = tensor_at(job, starts, tensors, begin)
            while begin < end:
                i = begin - job[starts + tensor]
                stop = min(end - job[starts + tensor], job[sizes + tensor])
                begin = job[starts + tensor + 1]
                at = HEADER + tensor
                parameter_and_gradient = job[at], job[at + tensors]
                first = job[at + 2 * tensors], job[at + first_scale * tensors]
                second = job[at + 3 * tensors], job[at + second_scale * tensors]
                maximum = job[at + largest * tensors], job[at + largest_scale * tensors]
                beside = job[at + remainder * tensors], job[at + key * tensors]
                shared = job[at + width * tensors]
                step_elements(
                    parameter_and_gradient, first, second, maximum, beside, i, stop, k, left, step, rooms, shared
                )
                tensor += 1

    return kernel


def build_rows(form: Form) -> Any:
    """The kernel that steps rows of one parameter, of a form without scales and keys; see `job`."""
    columns: Any = form.columns()
    places = {name: ROWS_HEADER + place for place, name in enumerate(columns)}
    largest, remainder = (places.get(name, ROWS_HEADER) for name in ("largest", "remainder"))
    gradient_bytes = columns["gradient"].itemsize
    whole = tuple((places[name], dtype.itemsize) for name, dtype in columns.items() if name != "gradient")
    real, step_elements = _elements(form, by_rows=True)
    one = np.dtype(real.name).type(1)

    def ask_for_row(job, i):
        for place, size in whole:
            for offset in range(0, min(job[WIDTH] * size, _LINES * _LINE), _LINE):
                prefetch(job[place] + i * size + offset)

    ask_for = inlined(ask_for_row)

    def kernel(job):
        count, piece, step, width = job[TENSORS], job[PIECE], job[STEP], job[WIDTH]
        k, rows = pointer(job[COEFFICIENTS], real), pointer(job[ROWS], types.int64)
        last_steps = pointer(job[LAST_STEPS], types.int32)
        first_shares, second_shares = pointer(job[FIRST_SHARES], real), pointer(job[SECOND_SHARES], real)
        parameter, gradient, first, second = ROWS_HEADER, ROWS_HEADER + 1, ROWS_HEADER + 2, ROWS_HEADER + 3
        rooms = scratch(), scratch(), scratch(), scratch(), scratch(), scratch()
        while True:
            begin = take_ticket(job) * piece
            if begin >= count:
                return
            end = min(begin + piece, count)
            for place in range(begin, min(begin + _AHEAD, end)):
                ask_for(job, rows[place] * width)
            for place in range(begin, end):
                if place + _AHEAD < end:
                    ask_for(job, rows[place + _AHEAD] * width)
                i = rows[place] * width
                left = one, one
                if job[LAST_STEPS] != 0:
                    left = first_shares[place], second_shares[place]
                    last_steps[rows[place]] = step
                own_gradient = job[gradient] + (place * width - i) * gradient_bytes  # its element i is the row's first
                step_elements(
                    (job[parameter], own_gradient),
                    (job[first], job[first]),
                    (job[second], job[second]),
                    (job[largest], job[largest]),
                    (job[remainder], job[parameter]),
                    i,
                    i + width,
                    k,
                    left,
                    step,
                    rooms,
                    width,
                )

    return kernel


def _elements(form: Form, *, by_rows: bool = False) -> tuple[Any, Any]:
    """In which type a form is stepped, and what steps elements i to `stop` of one parameter, given its addresses.

    By rows, what `left` says is first left of m and v; else nothing looks at it, nor at the width.
    """
    real = types.float64 if form.parameter == "float64" else types.float32
    amsgrad = form.amsgrad
    load_theta, store_theta = parameter_storage(form.parameter, real, form.rounding)
    load_gradient, _ = parameter_storage(form.gradient or form.parameter, real, "nearest")
    load_first, store_first = moment_storage(form.format_of("first"), real, "first")
    load_second, store_second = moment_storage(form.format_of("second"), real, "second")
    draw = random_bits(form.moments)
    update = _update(real, amsgrad, form.variant, by_rows)
    chunk = CHUNK if form.is_narrow() else 2**62

    def step_elements(parameter_and_gradient, first, second, maximum, beside, i, stop, k, left, step, rooms, width):
        parameter, gradient = parameter_and_gradient
        first, first_scales = first
        second, second_scales = second
        maximum, maximum_scales = maximum
        rest, number = beside
        room_1, room_2, room_3, room_4, room_5, room_6 = rooms
        while i < stop:
            n = min(stop - i, chunk)
            theta = load_theta(parameter, rest, i, n, room_1)
            g = load_gradient(gradient, 0, i, n, room_2)
            m = load_first(first, first_scales, i, n, room_3)
            v = load_second(second, second_scales, i, n, room_4)
            largest_v = load_second(maximum, maximum_scales, i, n, room_5) if amsgrad else v
            update(theta, g, m, v, largest_v, n, k, left)
            store_theta(parameter, rest, i, n, room_1, number)
            draw(i, n, room_6, step)
            store_first(first, first_scales, i, n, room_3, room_6, step)
            store_second(second, second_scales, i, n, room_4, room_6, step)
            if amsgrad:
                store_second(maximum, maximum_scales, i, n, room_5, room_6, step)
            i += n

    return real, written_out(step_elements)


def _blocks(form: Form) -> tuple[Any, Any]:
    """As `_elements`, with `blockwise`: of so many elements that share one v, those whose first is from i to `stop`.

    Each is gone through twice: for the mean of g², then for the step, in which most of it is still in the cache.
    """
    real = types.float64 if form.parameter == "float64" else types.float32
    number = np.dtype(real.name).type
    amsgrad = form.amsgrad
    load_theta, store_theta = parameter_storage(form.parameter, real, form.rounding)
    load_gradient, _ = parameter_storage(form.gradient or form.parameter, real, "nearest")
    load_first, store_first = moment_storage(form.format_of("first"), real, "first")
    load_second, store_second = moment_storage(form.format_of("second"), real, "second")
    draw = random_bits(form.moments)
    update = _update(real, amsgrad, form.variant, False)
    sum_of_shares, new_second_moment = _sum_of_shares(real), _second_moment(real)

    def step_blocks(parameter_and_gradient, first, second, maximum, beside, i, stop, k, left, step, rooms, width):
        parameter, gradient = parameter_and_gradient
        first, first_scales = first
        second, second_scales = second
        maximum, maximum_scales = maximum
        rest, key = beside
        room_1, room_2, room_3, room_4, room_5, room_6 = rooms
        block = (i + width - 1) // width
        while block * width < stop:
            i, end = block * width, (block + 1) * width
            share = 0.0
            while i < end:
                n = min(end - i, CHUNK)
                theta = load_theta(parameter, rest, i, n, room_1) if k[3] != 0 else pointer(room_1, real)
                share += sum_of_shares(theta, load_gradient(gradient, 0, i, n, room_2), n, k, number(1 / width))
                i += n
            held = load_second(second, second_scales, block, 1, room_4)
            before = held[0]
            v = new_second_moment(before, number(share), k[8], k[7] != 0)
            held[0] = v
            store_second(second, second_scales, block, 1, room_4, room_6, step)
            if amsgrad:
                held = load_second(maximum, maximum_scales, block, 1, room_5)
                v = larger(v, held[0])
                held[0] = v
                store_second(maximum, maximum_scales, block, 1, room_5, room_6, step)
            i = block * width
            while i < end:
                n = min(end - i, CHUNK)
                theta = load_theta(parameter, rest, i, n, room_1)
                g = load_gradient(gradient, 0, i, n, room_2)
                m = load_first(first, first_scales, i, n, room_3)
                update(theta, g, m, before, v, n, k, left)
                store_theta(parameter, rest, i, n, room_1, key)
                draw(i, n, room_6, step)
                store_first(first, first_scales, i, n, room_3, room_6, step)
                i += n
            block += 1

    return real, written_out(step_blocks)


@functools.cache
def _sum_of_shares(real: Any) -> Any:
    """The sum of (1 - β₂)·g² times a number, of n elements in a row."""
    zero = np.dtype(real.name).type(0)

    def sum_of_shares(parameter, gradient, n, k, inverse):
        total = zero
        penalty, sign, second_share, bound = k[3], k[4], k[9], k[10]
        for i in range(n):
            g = sign * gradient[i]
            if penalty != 0:
                g = g + penalty * parameter[i]
            g = bounded(g, bound)
            total = plus_in_any_order(total, second_share * g * g * inverse)
        return total

    return inlined(sum_of_shares)


@inlined
def bounded(g, bound):
    """`rule.bounded`."""
    not_finite = g - g  # 0, or NaN
    g = bound if g > bound else g
    return (-bound if g < -bound else g) + not_finite


@functools.cache
def _second_moment(real: Any) -> Any:
    """`rule.second_average` of v and (1 - β₂)·g²."""
    largest = np.dtype(real.name).type(rule.largest_second_moment(real.name))

    def second_moment(v, share, weight, forward):
        v = v + (share - weight * v) if forward else share + weight * v
        return largest if v > largest else v

    return inlined(second_moment)


@inlined
def larger(v, before):
    """The larger of two numbers; the maximum of NaN and a number is NaN."""
    larger = v if v > before else before
    return v if v != v else larger


@functools.cache
def _update(real: Any, amsgrad: bool, variant: Variant, fades: bool) -> Any:
    """`rule.update` for n elements in a row; the branches of switches are decided when it is compiled.

    With `blockwise` v is given as the block's before this step, and as what is below the root.
    """
    nesterov, rectified, cautious, adopt, schedule_free, blockwise = variant
    own = 11 if variant != ADAM else 0  # where its numbers are; Adam itself looks at none
    number = np.dtype(real.name).type  # Python's 0 would make float64 of float32
    zero, one = number(0), number(1)
    new_second_moment = _second_moment(real)

    def elements(parameter, gradient, first_moment, second_moment, max_second_moment, n, k, left, is_usual):
        first_forward, second_forward = is_usual or k[5] != 0, is_usual or k[7] != 0
        penalized = not is_usual and k[3] != 0
        step_size, epsilon, shrinkage, penalty, sign = k[0], k[1], k[2], k[3], k[4]
        first_weight, second_weight, second_share, bound = k[6], k[8], k[9], k[10]
        gradient_share, root_share, clip, of_lead, kept = k[own], k[own + 1], k[own + 2], k[own + 3], k[own + 4]
        for i in range(n):
            theta = parameter[i]
            g = sign * gradient[i]
            if penalized:
                g = g + penalty * theta
            g = bounded(g, bound)
            v = second_moment if blockwise else second_moment[i] * left[1] if fades else second_moment[i]
            averaged = g
            if adopt:
                root = np.sqrt(v)
                averaged = g / (epsilon if root <= epsilon else root)
                averaged = clip if averaged > clip else averaged
                averaged = -clip if averaged < -clip else averaged
            m = first_moment[i] * left[0] if fades else first_moment[i]
            lead = m  # x - y, with `schedule_free`
            if schedule_free:
                m = averaged
            else:
                difference = averaged - m
                m = m + first_weight * difference if first_forward else averaged - first_weight * difference
            if not schedule_free:
                first_moment[i] = m
            if blockwise:
                v = max_second_moment
            else:
                v = new_second_moment(v, second_share * g * g, second_weight, second_forward)
                second_moment[i] = v
                if amsgrad:
                    v = larger(v, max_second_moment[i])
                    max_second_moment[i] = v
            change = step_size * m
            if nesterov:
                change = change + gradient_share * averaged
            if not adopt:
                root = np.sqrt(v)
                change = change / ((root_share * root if rectified else root) + epsilon)
            if cautious:
                against = change - change if g == zero else change * math.copysign(one, g)
                change = math.copysign(zero, g) if against <= zero else change
            if shrinkage != 0:
                change = change + shrinkage * theta
            if schedule_free:
                lead = lead + change
                first_moment[i] = kept * lead
                change = change + of_lead * lead
            parameter[i] = theta - change

    loop = inlined(elements)

    def update(parameter, gradient, first_moment, second_moment, max_second_moment, n, k, left):
        # A loop of its own for the usual β, without L2: it has less to decide, and takes 15 % less time in the cache.
        if k[5] != 0 and k[7] != 0 and k[3] == 0:
            loop(parameter, gradient, first_moment, second_moment, max_second_moment, n, k, left, True)
        else:
            loop(parameter, gradient, first_moment, second_moment, max_second_moment, n, k, left, False)

    return inlined(update)
