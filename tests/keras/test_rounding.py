"""`parameter_rounding` of `adamkit.keras.Adam`, and that `rounding.py` gives NumPy's bits on each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit import rounding
from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy
from tests.test_rounding import EVERY_WAY, SPECIAL, assert_same_bits, stored

pytestmark = [pytest.mark.slow, pytest.mark.optimized]  # most of them compile

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
        {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
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
    for _ in range(6):
        gradient = random_like(rng, narrow, dtype)
        ours.apply([gradient], [narrow])
        expected.apply([ops.cast(gradient, "float32")], [full])
    np.testing.assert_array_equal(wide(ours, narrow), as_numpy(full))
    for optimizer, variable in ((ours, narrow), (expected, full)):
        optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(wide(ours, narrow), as_numpy(full))
    np.testing.assert_array_equal(as_numpy(narrow), as_numpy(ops.cast(full, dtype)))


def bfloat16_model(optimizer, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, "tanh", dtype="bfloat16"), keras.layers.Dense(1, dtype="bfloat16")]
    )
    model.compile(optimizer, loss="mse")
    return model


def test_a_bfloat16_model_trains_to_the_float32_result_where_that_of_keras_stays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = x[:, :1] - x[:, 1:2]
    fit = {"x": x, "y": y, "batch_size": 32, "epochs": 12, "shuffle": False, "verbose": 0}

    theirs = bfloat16_model(keras.optimizers.Adam(0.002))
    start = [as_numpy(v) for v in theirs.trainable_variables]
    theirs.fit(**fit)
    for variable, before in zip(theirs.trainable_variables, start, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), before)

    ours = bfloat16_model(Adam(0.002))
    full = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    full.compile(Adam(0.002), loss="mse")
    full.set_weights(start)
    loss, expected = (model.fit(**fit).history["loss"][-1] for model in (ours, full))
    assert expected < 0.5 * float(np.mean(y**2))
    assert loss == pytest.approx(expected, rel=0.05)
    for variable, wanted, before in zip(ours.trainable_variables, full.trainable_variables, start, strict=True):
        moved = np.abs(as_numpy(wanted) - before).mean()
        assert np.abs(wide(ours.optimizer, variable) - as_numpy(wanted)).mean() < 0.1 * moved


@pytest.mark.parametrize("name", rounding.ROUNDINGS)
@pytest.mark.parametrize("dtype", NARROW)
def test_the_seed_decides_and_a_run_repeats_to_the_bit(dtype, name):
    def run(seed):
        rng = np.random.default_rng(3)
        variables = [keras.Variable(rng.normal(size=(40, 5)), dtype=dtype) for _ in range(2)]
        optimizer = Adam(1e-4, parameter_rounding=name, rounding_seed=seed)
        for _ in range(4):
            optimizer.apply([random_like(rng, v, dtype) for v in variables], variables)
        return np.stack([wide(optimizer, v) for v in variables])

    one = run(1)
    np.testing.assert_array_equal(one, run(1))
    assert (one == run(2)).all() == (name in ("compensated", "nearest"))


@pytest.mark.parametrize("dtype", NARROW)
def test_remainders_take_the_bytes_that_they_should(dtype):
    variable = keras.Variable(np.ones(10), dtype=dtype)
    for name in rounding.ROUNDINGS:
        optimizer = Adam(parameter_rounding=name)
        optimizer.build([variable])
        kept = [keras.backend.standardize_dtype(v.dtype) for v in optimizer.variables if "remainder" in v.name]
        expected = rounding.remainder_dtype(dtype, name)
        assert kept == ([] if expected is None else [expected])


def test_bad_arguments_are_named_with_what_is_accepted():
    with pytest.raises(ValueError, match=r"parameter_rounding must be one of 'compensated', .* Received: .*'up'"):
        Adam(parameter_rounding="up")
    with pytest.raises(TypeError, match="rounding_seed must be a whole number"):
        Adam(rounding_seed=0.5)
