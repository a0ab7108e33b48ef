"""`moments.py`: what int8 and bfloat16 moments keep, and that every array library gives the same bits.

TensorFlow is in a process of its own, since Keras has one backend a process.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adamkit import moments
from adamkit.arrays import namespace
from adamkit.moments import BLOCK
from tests import processes

pytestmark = pytest.mark.optimized

NORMAL = float(np.finfo(np.float32).smallest_normal)
KINDS = {
    "first": (moments.encode_first, moments.decode_first, 8),  # how many numbers there are in a power of two
    "second": (moments.encode_second, moments.decode_second, 16),
}
each_moment = pytest.mark.parametrize("kind", KINDS)

steps = st.integers(1, 2**40)
sizes = st.integers(0, 3 * BLOCK)
any_bits = arrays(np.uint32, sizes).map(lambda bits: bits.view(np.float32))  # denormals, infinity and NaN too
finite = arrays(np.float32, sizes, elements=st.floats(-(2.0**100), 2.0**100, width=32))
# What a block of moments looks like: numbers within a few powers of ten, and zeros.
usual = arrays(np.float32, sizes, elements=st.floats(-1, 1, width=32).map(lambda x: np.float32(x * abs(x) ** 3)))


def of_kind(value, kind):
    return value if kind == "first" else np.abs(value)


def stored(value, kind, step=1):
    encode, decode, _ = KINDS[kind]
    return decode(*encode(value, step, np), np)


def block_maxima(value):
    """For each element, the largest absolute value of its block."""
    blocks = moments.blocks(value.size)
    padded = np.zeros(blocks * BLOCK, np.float32)
    padded[: value.size] = np.abs(value)
    return np.repeat(padded.reshape(blocks, BLOCK).max(axis=1, initial=0), BLOCK)[: value.size]


def assert_same_bits(one, other):
    """One NaN is as good as another."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    np.testing.assert_array_equal(one, other)
    if one.dtype == np.float32:
        np.testing.assert_array_equal(np.signbit(one)[~np.isnan(one)], np.signbit(other)[~np.isnan(other)])


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(finite | usual, steps)
@each_moment
def test_round_trip_is_off_by_less_than_one_of_the_numbers_that_a_power_of_two_has(kind, value, step):
    value = of_kind(value, kind)
    numbers = KINDS[kind][2]
    result = stored(value, kind, step)
    within = np.abs(value) >= np.maximum(block_maxima(value) * 2.0**-14, NORMAL)
    # The next number above x is at most x/numbers away; next to a power of two it may be one of the coarser side.
    np.testing.assert_array_less(np.abs(result - value)[within], np.abs(value)[within] / numbers * 1.0001)


@pytest.mark.slow
@given(any_bits | usual, steps)
@each_moment
def test_signs_are_kept(kind, value, step):
    value = of_kind(value, kind)
    result = stored(value, kind, step)
    kept = ~np.isnan(result)
    np.testing.assert_array_equal(np.signbit(result)[kept], np.signbit(value)[kept])


@pytest.mark.slow
@given(any_bits | usual, steps)
@each_moment
def test_zero_stays_zero_and_denormals_count_as_zero(kind, value, step):
    value = of_kind(value, kind)
    result = stored(value, kind, step)
    zeros = (np.abs(value) < NORMAL) & ~np.isnan(result)
    np.testing.assert_array_equal(result[zeros], 0)


@given(any_bits | usual, steps)
def test_a_second_moment_that_is_not_zero_never_becomes_zero(value, step):
    value = np.abs(value)
    assert np.all(stored(value, "second", step)[value >= NORMAL] != 0)


@given(st.floats(NORMAL, 2.0**126, width=32), st.floats(NORMAL, 2.0**126, width=32), steps)
def test_the_smallest_second_moment_next_to_a_huge_one_is_at_least_a_131072nd_of_it(one, other, step):
    result = stored(np.float32([one, other]), "second", step)
    assert result.min() >= result.max() / 2**17


@pytest.mark.slow
@given(finite, steps)
@each_moment
def test_larger_numbers_have_larger_codes(kind, value, step):
    """At one position of one block: the largest of the block, at another position, is held."""
    value = np.sort(np.abs(value))
    rows = np.zeros((value.size, BLOCK), np.float32)
    rows[:, 1] = value
    rows[:, 0] = value.max(initial=0) * 2
    encode, decode, _ = KINDS[kind]
    # Each row is encoded as the array's first block, where it meets the same random bits.
    results = [decode(*encode(row, step, np), np)[1] for row in rows]
    assert results == sorted(results)


@pytest.mark.slow
@given(usual, steps, steps)
@each_moment
def test_what_was_stored_once_is_stored_again_without_a_change(kind, value, step, later):
    once = stored(of_kind(value, kind), kind, step)
    assert_same_bits(stored(once, kind, later), once)


@each_moment
def test_the_mean_over_steps_is_the_number_itself(kind):
    value = np.float32(2.0) ** np.linspace(-12, 0, BLOCK, dtype=np.float32)
    n = 4000
    mean = np.mean([stored(value, kind, step).astype(np.float64) for step in range(1, n + 1)], axis=0)
    # Of one rounding the standard deviation is at most half the distance of two numbers.
    bound = 5 * (value / KINDS[kind][2] / 2) / math.sqrt(n)
    np.testing.assert_array_less(np.abs(mean - value), bound)


def test_batches_that_come_round_regularly_meet_all_sides_of_the_rounding():
    """A gradient in one of 13 batches, a number of Fibonacci's: with the golden ratio's offsets it would resonate."""
    exact = np.ones(BLOCK)
    v = exact.astype(np.float32)
    relative = []
    for step in range(1, 8001):
        gradient_squared = np.float32(13.0 if step % 13 == 0 else 0.0)
        exact += 0.001 * (gradient_squared - exact)
        v = stored(v + np.float32(0.001) * (gradient_squared - v), "second", step)
        relative.append(v.mean(dtype=np.float64) / exact[0])
    assert abs(np.mean(relative[1000:]) - 1) < 0.01


# Blocks ---------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 5), st.integers(0, BLOCK - 1), st.sampled_from([np.nan, np.inf, -np.inf]), steps)
@each_moment
def test_nan_and_infinity_poison_their_own_block_and_no_other(kind, block, place, poison, step):
    value = np.linspace(0.5, 2, 6 * BLOCK, dtype=np.float32)
    clean = stored(value, kind, step)
    value[block * BLOCK + place] = of_kind(np.float32(poison), kind)
    result = stored(value, kind, step).reshape(6, BLOCK)
    assert np.isnan(result[block]).all()
    others = np.arange(6) != block
    assert_same_bits(result[others], clean.reshape(6, BLOCK)[others])


@given(arrays(np.float32, (4, BLOCK), elements=st.floats(-8, 8, width=32)), st.permutations(range(4)), steps)
@each_moment
def test_scales_are_independent_of_the_order_of_the_blocks_and_numbers_of_it_up_to_rounding(kind, value, order, step):
    value = of_kind(value, kind)
    here, there = stored(value, kind, step), stored(value[order], kind, step)
    numbers = KINDS[kind][2]
    within = np.abs(value) >= np.maximum(np.abs(value).max(axis=1, keepdims=True) * 2.0**-14, NORMAL)
    ratio = there[np.argsort(order)][within] / here[within]
    assert np.all(np.abs(ratio - 1) <= 1 / numbers + 1e-6)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (), (BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (3, 5, 17)])
@each_moment
def test_every_shape_has_a_byte_an_element_and_a_byte_a_block(kind, shape):
    encode, decode, _ = KINDS[kind]
    value = np.full(shape, 0.5, np.float32)
    codes, scales = encode(value, 1, np)
    assert codes.dtype == scales.dtype == np.uint8
    assert codes.shape == shape
    assert scales.shape == (math.ceil(math.prod(shape) / BLOCK),)
    assert_same_bits(decode(codes, scales, np), value)


@given(st.floats(NORMAL, 2.0**127, width=32), steps)
@each_moment
def test_one_huge_value_is_kept_and_so_are_the_zeros_beside_it(kind, huge, step):
    value = np.zeros(BLOCK, np.float32)
    value[7] = huge
    result = stored(value, kind, step)
    assert abs(result[7] / huge - 1) < 1 / KINDS[kind][2]
    assert np.count_nonzero(result) == 1


def test_both_moments_take_less_than_two_and_a_tenth_bytes_a_parameter():
    value = np.ones(10**6, np.float32)
    parts = [*moments.encode_first(value, 1, np), *moments.encode_second(value, 1, np)]
    assert sum(part.nbytes for part in parts) / value.size <= 2.1


def test_small_arrays_stay_float32():
    assert moments.format_of(moments.MIN_SIZE - 1, "int8") == "float32"
    assert moments.format_of(moments.MIN_SIZE, "int8") == "int8"
    for dtype in ("float32", "bfloat16"):
        assert moments.format_of(1, dtype) == dtype


def test_an_unknown_format_is_an_error_with_the_list():
    with pytest.raises(ValueError, match=r"moment_dtype must be one of 'float32', 'bfloat16', 'int8'.*'int4'"):
        moments.check_format("moment_dtype", "int4")


# The same bits everywhere ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)  # JAX compiles each operation for each new size
@given(any_bits | usual, steps)
@each_moment
@pytest.mark.slow
def test_numpy_jax_and_torch_give_the_same_bits(kind, value, step):
    value = of_kind(value, kind)
    encode, decode, _ = KINDS[kind]
    codes, scales = encode(value, step, np)
    for xp, array in ((jnp, jnp.asarray(value)), (torch, torch.tensor(value))):
        others = encode(array, step, xp)
        assert_same_bits(others[0], codes)
        assert_same_bits(others[1], scales)
        assert_same_bits(decode(*others, xp), decode(codes, scales, np))


@settings(deadline=None, max_examples=20)  # the first example compiles
@given(arrays(np.float32, (2, 100), elements=st.floats(-4, 4, width=32)), st.integers(1, 2**31 - 1))
@each_moment
def test_jit_and_vmap_change_no_bit(kind, value, step):
    value = of_kind(value, kind)
    encode, decode, _ = KINDS[kind]
    codes, scales, values = _compiled(kind)(value, step)
    for i, row in enumerate(value):
        expected = encode(row, step, np)
        assert_same_bits(codes[i], expected[0])
        assert_same_bits(scales[i], expected[1])
        assert_same_bits(values[i], decode(*expected, np))


@functools.cache
def _compiled(kind):
    encode, decode, _ = KINDS[kind]
    return jax.jit(jax.vmap(lambda row, t: (parts := encode(row, t, jnp)) + (decode(*parts, jnp),), in_axes=(0, None)))


_IN_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf
from keras import ops
from adamkit import moments
from adamkit.arrays import namespace

given = np.load(sys.argv[1])
for encode, decode, value in (
    (moments.encode_first, moments.decode_first, given["value"]),
    (moments.encode_second, moments.decode_second, abs(given["value"])),
):
    expected = encode(value, 3, np)
    for jit in (False, True):
        both = tf.function(lambda x: (parts := encode(x, 3, ops)) + (decode(*parts, ops),), jit_compile=jit)
        for one, other in zip(both(tf.constant(value)), (*expected, decode(*expected, np)), strict=True):
            np.testing.assert_array_equal(one.numpy(), other)
"""


@pytest.mark.slow
def test_tensorflow_gives_the_same_bits_compiled_by_xla_or_not(tmp_path):
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 1000, dtype=np.uint32)
    usual = random.normal(size=3000) * 10.0 ** random.uniform(-6, 0, 3000)
    file = tmp_path / "value.npz"
    np.savez(file, value=np.concatenate([usual.astype(np.float32), bits.view(np.float32)]))
    processes.run("-c", _IN_TENSORFLOW, str(file), backend="tensorflow", check=True)


# bfloat16 -------------------------------------------------------------------------------------------------------------


@given(any_bits | usual, st.integers(1, 50000))
def test_bfloat16_is_one_of_the_two_neighbours_of_the_moment(value, step):
    result = moments.round_to_bfloat16(value, np.int32(step), namespace(np))
    np.testing.assert_array_equal(result.view(np.int32)[np.isfinite(value)] & 0xFFFF, 0)
    kept = np.isfinite(value) & np.isfinite(result)
    assert np.all(np.abs(result[kept] - value[kept].astype(np.float64)) <= np.abs(value[kept]) * 2.0**-7 + 1e-40)
    np.testing.assert_array_equal(result[~np.isfinite(value)], value[~np.isfinite(value)])
