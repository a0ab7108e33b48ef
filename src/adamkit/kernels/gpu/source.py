"""The source of the GPU kernel, for Triton: `rule.update` for a tile of one tensor, from its first load to its store.

A kernel compiles to different code for each form. Division and root are those that round correctly, products and sums
stay apart (`launch` says so to the compiler), and all other arithmetic is on integers: so a step has the CPU's bits.
"""

# pyright: reportArgumentType=false, reportPossiblyUnboundVariable=false
# A constant of a kernel is any Python object, and code below an `if` of constants is there or not.

from adamkit.kernels.gpu.storage import (
    BLOCK,
    load_moment,
    load_real,
    moment_noise,
    parameter_key,
    restored,
    store_moment,
    store_parameter,
)
from adamkit.kernels.gpu.table import ROW
from adamkit.kernels.gpu.triton import tl, triton
from adamkit.rule import largest_second_moment

_ROW = tl.constexpr(len(ROW))
_START, _SIZE, _PARAMETER, _GRADIENT, _FIRST, _SECOND, _LARGEST = map(tl.constexpr, range(7))
_FIRST_SCALE, _SECOND_SCALE, _LARGEST_SCALE, _REMAINDER, _INDEX = map(tl.constexpr, range(7, 12))
_LARGEST_V = tl.constexpr(largest_second_moment("float32"))


@triton.jit(do_not_specialize=["number", "seed"])
def adam(
    owners,  # (tiles,) int32: the tensor that a tile is part of
    table,  # (tensors, len(ROW)) int64: each tensor's `table.ROW`
    numbers,  # (tensors,) int32 if ON_DEVICE: of each, in place of `number`
    scalars,  # (tensors, 3) float32 if ON_DEVICE: step_size, epsilon and shrinkage of each, in place of these
    number,  # int32: t
    seed,  # int32: of the random bits of parameters
    step_size,  # float32, as all that follow
    epsilon,
    shrinkage,
    penalty,
    sign,
    first_forward,
    first_weight,
    second_forward,
    second_weight,
    second_share,
    bound,
    PARAMETER: tl.constexpr,  # dtype of θ
    GRADIENT: tl.constexpr,  # dtype of g
    FIRST: tl.constexpr,  # how m is stored
    SECOND: tl.constexpr,  # and v
    ROUNDING: tl.constexpr,
    AMSGRAD: tl.constexpr,
    ON_DEVICE: tl.constexpr,
    TILE: tl.constexpr,  # elements
):
    """One tile: program number i steps tile number i."""
    program = tl.program_id(0)
    tensor = tl.load(owners + program)
    row = table + tensor * _ROW
    begin = (program - tl.load(row + _START)) * TILE  # int64: a tensor may have more than 2³¹ elements
    size = tl.load(row + _SIZE)
    if ON_DEVICE:
        k = scalars + tensor * 3
        number = tl.load(numbers + tensor)
        step_size = tl.load(k)
        epsilon = tl.load(k + 1)
        shrinkage = tl.load(k + 2)
    addresses = tl.load(row + _PARAMETER) | tl.load(row + _GRADIENT) | tl.load(row + _FIRST) | tl.load(row + _SECOND)
    addresses = addresses | tl.load(row + _LARGEST) | tl.load(row + _REMAINDER)
    left = tl.minimum(size - begin, TILE).to(tl.int32)
    if (left % 4 == 0) & (addresses % 16 == 0):
        _step(
            row, begin, left, number, seed, step_size, epsilon, shrinkage, penalty, sign,
            first_forward, first_weight, second_forward, second_weight, second_share, bound,
            PARAMETER, GRADIENT, FIRST, SECOND, ROUNDING, AMSGRAD, TILE, True,
        )  # fmt: skip
    else:
        _step(
            row, begin, left, number, seed, step_size, epsilon, shrinkage, penalty, sign,
            first_forward, first_weight, second_forward, second_weight, second_share, bound,
            PARAMETER, GRADIENT, FIRST, SECOND, ROUNDING, AMSGRAD, TILE, False,
        )  # fmt: skip


@triton.jit
def _step(
    row, begin, left, number, seed, step_size, epsilon, shrinkage, penalty, sign,
    first_forward, first_weight, second_forward, second_weight, second_share, bound,
    PARAMETER: tl.constexpr, GRADIENT: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr,
    ROUNDING: tl.constexpr, AMSGRAD: tl.constexpr, TILE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """`rule.update`, as in the CPU kernel, of one tile; `storage.load` says what FAST is."""
    places = tl.arange(0, TILE // BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    parameter = tl.load(row + _PARAMETER)
    beside = tl.load(row + _REMAINDER)
    first, first_scale = tl.load(row + _FIRST), tl.load(row + _FIRST_SCALE)
    second, second_scale = tl.load(row + _SECOND), tl.load(row + _SECOND_SCALE)
    theta = restored(parameter, beside, begin, left, places, PARAMETER, ROUNDING, FAST)
    g = load_real(tl.load(row + _GRADIENT), begin, left, places, GRADIENT, FAST)
    m = load_moment(first, first_scale, begin, left, places, FIRST, True, FAST)
    v = load_moment(second, second_scale, begin, left, places, SECOND, False, FAST)
    if AMSGRAD:
        largest, largest_scale = tl.load(row + _LARGEST), tl.load(row + _LARGEST_SCALE)
        largest_v = load_moment(largest, largest_scale, begin, left, places, SECOND, False, FAST)

    g = sign * g
    g = tl.where(penalty != 0, g + penalty * theta, g)
    not_finite = g - g  # 0, or NaN
    g = tl.where(g > bound, bound, g)
    g = tl.where(g < -bound, -bound, g) + not_finite
    change = first_weight * (g - m)
    m = tl.where(first_forward != 0, m + change, g - change)
    share = second_share * g * g
    v = tl.where(second_forward != 0, v + (share - second_weight * v), share + second_weight * v)
    v = tl.where(v > _LARGEST_V, _LARGEST_V, v)
    scale = v
    if AMSGRAD:
        largest_v = tl.where(v > largest_v, v, largest_v)
        largest_v = tl.where(v != v, v, largest_v)  # the maximum of NaN and a number is NaN
        scale = largest_v
    change = tl.div_rn(step_size * m, tl.sqrt_rn(scale) + epsilon)
    change = tl.where(shrinkage != 0, change + shrinkage * theta, change)
    theta = theta - change

    key = parameter_key(seed, number, tl.load(row + _INDEX))
    store_parameter(theta, parameter, beside, key, begin, left, places, PARAMETER, ROUNDING, FAST)
    noise = moment_noise(number, begin, places)
    store_moment(m, first, first_scale, noise, number, begin, left, places, FIRST, True, FAST)
    store_moment(v, second, second_scale, noise, number, begin, left, places, SECOND, False, FAST)
    if AMSGRAD:
        store_moment(largest_v, largest, largest_scale, noise, number, begin, left, places, SECOND, False, FAST)
