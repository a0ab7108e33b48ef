"""`rounding.py`: what is kept, that nothing is lost on average, and that every array library gives the same bits.

TensorFlow is in `tests/keras/test_rounding.py`, with Keras's other backends.
"""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adamkit import rounding

pytestmark = pytest.mark.optimized

NARROW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
EVERY_WAY = [(dtype, name) for dtype in NARROW for name in rounding.ROUNDINGS]
SEEDED = [(dtype, name) for dtype, name in EVERY_WAY if name in ("compensated8", "stochastic")]
SPECIAL = np.float32(
    [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38, 3.4028235e38, 65504, 65519.996, 65520]
)

# Any bits at all (denormals, infinity, NaN), and numbers of the size that parameters have.
any_bits = arrays(np.uint32, st.integers(0, 20)).map(lambda bits: bits.view(np.float32))
usual = arrays(np.float32, st.integers(1, 20), elements=st.floats(-8, 8, width=32))
values = any_bits | usual
seeds = st.integers(0, 2**32 - 1)
steps = st.integers(1, 2**40)


def stored(value, dtype, name, seed=0, step=1, index=0, xp=np):
    return rounding.store(value, dtype, name, rounding.random_key(seed, step, index, xp), xp)


def restored(value, dtype, name, seed=0, step=1):
    return rounding.restore(*stored(value, dtype, name, seed, step), np)


def nearest(value, dtype):
    with np.errstate(over="ignore"):
        return value.astype(NARROW[dtype])


def neighbours(value, dtype):
    """The numbers of the dtype next below and above each value, or that it is, as float64; perhaps infinity."""
    rounded = nearest(value, dtype)
    with np.errstate(over="ignore"):
        below = np.where(rounded.astype(np.float32) > value, np.nextafter(rounded, NARROW[dtype](-np.inf)), rounded)
        above = np.where(rounded.astype(np.float32) < value, np.nextafter(rounded, NARROW[dtype](np.inf)), rounded)
    return below.astype(np.float64), above.astype(np.float64)


def assert_same_bits(one, other):
    """One NaN is as good as another."""
    if one is None or other is None:
        assert one is other
        return
    one, other = (as_numpy(array) for array in (one, other))
    assert one.dtype == other.dtype
    if one.dtype.kind != "i":
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        one, other = (np.where(np.isnan(array), array.dtype.type(0), array) for array in (one, other))
    integer = f"u{one.dtype.itemsize}"
    np.testing.assert_array_equal(one.view(integer), other.view(integer))


def as_numpy(array):
    if isinstance(array, torch.Tensor) and array.dtype == torch.bfloat16:
        return array.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return np.asarray(array)


# What is kept ---------------------------------------------------------------------------------------------------------


@given(values)
@pytest.mark.parametrize("dtype", NARROW)
def test_compensated_keeps_every_bit_of_every_number_that_rounds_to_a_finite_parameter(dtype, value):
    parameter, remainder = stored(value, dtype, "compensated")
    assert remainder.dtype == rounding.remainder_dtype(dtype, "compensated")
    kept = np.abs(parameter.astype(np.float32)) < np.inf
    assert_same_bits(rounding.restore(parameter, remainder, np)[kept], value[kept])


@pytest.mark.slow
@given(values)
@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_the_parameter_is_a_neighbour_and_a_compensated_one_the_nearest(dtype, name, value):
    parameter, remainder = (array if array is None else as_numpy(array) for array in stored(value, dtype, name))
    assert parameter.dtype == NARROW[dtype]
    assert (None if remainder is None else remainder.dtype) == rounding.remainder_dtype(dtype, name)
    number = ~np.isnan(value)
    parameter, value = parameter[number].astype(np.float64), value[number]
    below, above = neighbours(value, dtype)
    assert ((parameter == below) | (parameter == above)).all()
    if name in ("compensated", "nearest"):
        # At a tie, either; infinity is as far away as the next power of two.
        top = 2.0 * 2.0 ** np.floor(np.log2(float(ml_dtypes.finfo(NARROW[dtype]).max)))
        distance, smallest = (
            np.abs(np.clip(x, -top, top) - np.clip(value.astype(np.float64), -top, top))
            for x in (parameter, nearest(value, dtype).astype(np.float64))
        )
        np.testing.assert_array_equal(distance, smallest)


@given(values, seeds, steps)
@pytest.mark.parametrize("dtype", NARROW)
def test_compensated8_is_within_a_256th_of_an_ulp(dtype, value, seed, step):
    kept = restored(value, dtype, "compensated8", seed, step)
    below, above = neighbours(np.where(np.isfinite(value), value, 0), dtype)
    inside = np.isfinite(value) & np.isfinite(below) & np.isfinite(above) & np.isfinite(kept)
    ulp = (above - below)[inside]
    assert (np.abs(kept[inside].astype(np.float64) - value[inside]) <= ulp / 256).all()


@pytest.mark.slow
@given(values, seeds, steps)
@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_what_is_exact_in_the_parameter_stays_and_so_do_nan_infinity_and_the_sign_of_zero(
    dtype, name, value, seed, step
):
    exact = np.concatenate([nearest(value, dtype).astype(np.float32), np.float32([0, -0.0, np.inf, -np.inf, np.nan])])
    parameter, remainder = stored(exact, dtype, name, seed, step)
    assert_same_bits(parameter.astype(np.float32), exact)
    assert_same_bits(rounding.restore(parameter, remainder, np), exact)
    assert_same_bits(rounding.restore(*stored(exact, dtype, name, seed, step + 1), np), exact)


@given(values, values, st.sampled_from(("compensated", "compensated8")))
@pytest.mark.parametrize("dtype", NARROW)
def test_a_parameter_changed_from_outside_counts(dtype, value, other, name):
    """Whatever the remainder: what comes back rounds to the new parameter, or is at most half an ulp from it."""
    size = min(value.size, other.size)
    _, remainder = stored(value[:size], dtype, name)
    parameter = nearest(other[:size], dtype)
    back = rounding.restore(parameter, remainder, np)
    assert_same_bits(np.isnan(back), np.isnan(parameter))
    number = np.abs(parameter.astype(np.float32)) < float(ml_dtypes.finfo(NARROW[dtype]).max)
    parameter, back = parameter[number], back[number].astype(np.float64)
    half = (
        np.nextafter(np.abs(parameter), NARROW[dtype](np.inf)).astype(np.float64) - np.abs(parameter).astype(np.float64)
    ) / 2
    assert (np.abs(back - parameter.astype(np.float64)) <= half).all()


def test_a_parameter_set_to_zero_next_to_any_remainder_is_as_good_as_zero():
    for dtype in NARROW:
        remainder = np.arange(-128, 128, dtype=np.int8)
        for zero in (0.0, -0.0):
            back = rounding.restore(np.full(256, zero, NARROW[dtype]), remainder, np)
            assert (np.abs(back) <= float(ml_dtypes.finfo(NARROW[dtype]).smallest_subnormal) / 2).all()


# On average -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.1, -0.3, 1.00001, 3e-5, -2e-7, 1e-3])
@pytest.mark.parametrize(("dtype", "name"), SEEDED)
def test_nothing_is_lost_on_average_over_elements_or_over_steps(dtype, name, value):
    value, count = np.float32(value), 4096
    below, above = (float(x[0]) for x in neighbours(np.full(1, value), dtype))
    over_elements = restored(np.full(count, value), dtype, name)
    over_steps = np.concatenate([restored(np.full(4, value), dtype, name, step=t) for t in range(1, count // 4 + 1)])
    # Rounding up or down to a grid of that distance has at most half of it as standard deviation; 5 of those here.
    grid = (above - below) / (1 if name == "stochastic" else 256)
    for kept in (over_elements, over_steps):
        assert abs(kept.astype(np.float64).mean() - float(value)) <= 5 * grid / 2 / np.sqrt(count)
        assert len(np.unique(kept)) == 2


@pytest.mark.parametrize(("dtype", "name"), [(d, n) for d, n in EVERY_WAY if n != "nearest"])
def test_steps_too_small_for_the_parameter_add_up(dtype, name):
    """A thousand steps of 1/100 ulp: to the nearest, the parameter would stay where it was."""
    start, step, count = np.float32(1), np.float32(2.0**-7 / 100), 1000
    parameter, remainder = stored(np.full(200, start), dtype, name)
    for t in range(1, count + 1):
        theta = rounding.restore(parameter, remainder, np) + step
        parameter, remainder = stored(theta, dtype, name, step=t)
    moved = rounding.restore(parameter, remainder, np).astype(np.float64).mean() - 1
    assert moved == pytest.approx(count * float(step), rel=0.05)
    still, _ = stored(start + np.full(1, step), "bfloat16", "nearest")
    assert still == start


# Random bits ----------------------------------------------------------------------------------------------------------


@given(seeds, steps, st.integers(0, 1000))
def test_a_part_of_an_array_gets_the_bits_that_it_has_in_the_whole(seed, step, index):
    """So the number of threads does not matter: an element's bits are a function of seed, step, parameter, position."""
    value = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    whole, _ = stored(value, "bfloat16", "stochastic", seed, step, index)
    again, _ = stored(value.ravel(), "bfloat16", "stochastic", seed, step, index)
    part, _ = stored(value.ravel()[:9], "bfloat16", "stochastic", seed, step, index)
    assert_same_bits(whole.ravel(), again)
    assert_same_bits(again[:9], part)


@given(seeds, steps, st.integers(0, 1000))
def test_another_seed_step_or_parameter_has_other_random_bits(seed, step, index):
    value = np.full(64, 1.003, np.float32)
    one, *others = (
        as_numpy(stored(value, "bfloat16", "stochastic", *numbers)[0])
        for numbers in ((seed, step, index), (seed ^ 1, step, index), (seed, step + 1, index), (seed, step, index + 1))
    )
    for other in others:
        assert (one != other).any()


def test_the_random_bits_of_neighbours_in_position_step_and_parameter_are_uncorrelated():
    value = np.full(2000, 1 + 2.0**-8, np.float32)  # half-way: a fair coin

    def coins(step, index):
        return stored(value, "bfloat16", "stochastic", 0, step, index)[0].astype(np.float64) > 1

    table = np.array([[coins(step, index) for index in range(4)] for step in range(1, 5)]).astype(float) - 0.5
    assert abs(table.mean()) < 5 * 0.5 / np.sqrt(table.size)
    for axis in range(3):
        one, other = np.moveaxis(table, axis, 0)[:-1], np.moveaxis(table, axis, 0)[1:]
        assert abs((one * other).mean()) < 5 * 0.25 / np.sqrt(one.size)


# Same bits everywhere -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.one_of(any_bits, usual).map(lambda x: np.concatenate([x, SPECIAL])), seeds, st.integers(1, 2**31 - 1))
@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_pytorch_gives_the_bits_of_numpy(dtype, name, value, seed, step):
    expected = stored(value, dtype, name, seed, step)
    found = stored(torch.from_numpy(value), dtype, name, seed, torch.tensor(step), xp=torch)
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(rounding.restore(*found, torch), rounding.restore(*expected, np))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_jax_gives_the_bits_of_numpy_compiled_and_mapped_too(dtype, name):
    rng = np.random.default_rng(1)
    any_value = rng.integers(0, 2**32, (4, 300), dtype=np.uint32).view(np.float32)
    usual_value = rng.normal(size=(4, 300)).astype(np.float32) * 10 ** rng.uniform(-9, 5, (4, 300)).astype(np.float32)
    value = np.concatenate([any_value, usual_value, np.tile(SPECIAL, (4, 1))], axis=1)

    def there_and_back(value, step):
        kept = stored(value, dtype, name, 5, step, 2, xp=jnp)
        return (*kept, rounding.restore(*kept, jnp))

    for run in (there_and_back, jax.jit(there_and_back)):
        kept = stored(value, dtype, name, 5, 7, 2)
        for one, other in zip(run(value, 7), (*kept, rounding.restore(*kept, np)), strict=True):
            assert_same_bits(one, other)
    mapped = jax.jit(jax.vmap(there_and_back))(value, jnp.arange(1, 5))
    for member in range(4):
        kept = stored(value[member], dtype, name, 5, member + 1, 2)
        for one, other in zip(mapped, (*kept, rounding.restore(*kept, np)), strict=True):
            assert_same_bits(one if one is None else one[member], other)


def test_keys_of_several_parameters_are_those_of_each():
    many = rounding.random_key(3, 17, np.arange(5, dtype=np.int32), np)
    assert many.tolist() == [rounding.random_key(3, 17, index, np)[0] for index in range(5)]


@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_arrays_without_elements_or_dimensions(dtype, name):
    for shape in ((0,), (), (3, 0, 2), (1, 1)):
        value = np.full(shape, 0.1, np.float32)
        parameter, remainder = stored(value, dtype, name)
        assert parameter.shape == rounding.restore(parameter, remainder, np).shape == shape


# Bad input ------------------------------------------------------------------------------------------------------------


@given(st.text() | st.none() | st.integers())
def test_an_unknown_rounding_is_an_error_with_the_list(value):
    if value not in rounding.ROUNDINGS:
        with pytest.raises(ValueError, match=r"parameter_rounding must be one of 'compensated', .*Received: ") as error:
            rounding.check_rounding("parameter_rounding", value)
        assert repr(value) in str(error.value)


def test_a_seed_is_a_whole_number_of_32_bits():
    assert rounding.check_seed("rounding_seed", np.int64(7)) == 7
    for value, error in ((-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)):
        with pytest.raises(error, match=r"rounding_seed must be a whole number >= 0 and < 2\*\*32. Received: "):
            rounding.check_seed("rounding_seed", value)


def test_wide_parameters_have_no_remainder():
    for name in rounding.ROUNDINGS:
        assert rounding.remainder_dtype("float32", name) is rounding.remainder_dtype("float64", name) is None
