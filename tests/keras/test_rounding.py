"""`parameter_rounding` of `adamkit.keras.Adam`, and that `rounding.py` gives NumPy's bits on each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit import rounding
from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy
from tests.test_rounding import EVERY_WAY, SPECIAL, assert_same_bits, stored

BACKEND = keras.backend.backend()
NARROW = ("bfloat16", "float16")


def wide(optimizer, variable):
    """The float32 that a variable and its remainder stand for."""
    return ops.convert_to_numpy(optimizer._wide(variable))


def random_like(rng, variable, dtype):
    return ops.cast(ops.convert_to_tensor(rng.normal(size=variable.shape).astype("float32")), dtype)


@pytest.mark.parametrize(("dtype", "name"), EVERY_WAY)
def test_keras_gives_the_bits_of_numpy(dtype, name):
    rng = np.random.default_rng(0)
    any_value = rng.integers(0, 2**32, 500, dtype=np.uint32).view(np.float32)
    usual = rng.normal(size=500).astype(np.float32) * 10 ** rng.uniform(-9, 5, 500).astype(np.float32)
    value = np.concatenate([any_value, usual, SPECIAL])
    key = rounding.random_key(7, ops.convert_to_tensor(11), 3, ops)
    found = rounding.store(ops.convert_to_tensor(value), dtype, name, key, ops)
    expected = stored(value, dtype, name, 7, 11, 3)
    for one, other in zip(
        (*found, rounding.restore(*found, ops)), (*expected, rounding.restore(*expected, np)), strict=True
    ):
        if one is not None:
            one = ops.convert_to_numpy(ops.view(one, "int16")).view(other.dtype) if other.itemsize == 2 else as_is(one)
        assert_same_bits(one, other)


def as_is(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"amsgrad": True, "weight_decay": 0.1, "clipnorm": 1.0},
        {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5},
        {"gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_a_compensated_variable_follows_the_float32_one_bit_by_bit(dtype, options):
    rng = np.random.default_rng(1)
    start = rng.normal(size=(9, 7))
    narrow, full = keras.Variable(start, dtype=dtype), keras.Variable(start, dtype="float32")
    full.assign(ops.cast(narrow, "float32"))
    ours, expected = Adam(1e-4, **options), Adam(1e-4, **options)
    for _ in range(21):
        gradient = random_like(rng, narrow, dtype)
        ours.apply([gradient], [narrow])
        expected.apply([ops.cast(gradient, "float32")], [full])
    np.testing.assert_array_equal(wide(ours, narrow), as_numpy(full))
    for optimizer, variable in ((ours, narrow), (expected, full)):
        optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(wide(ours, narrow), as_numpy(full))
    np.testing.assert_array_equal(as_numpy(narrow), as_numpy(ops.cast(full, dtype)))
