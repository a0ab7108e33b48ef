"""On JAX, outside of `jax.jit`, a step is one compiled program; it must not be seen but in its speed."""

import keras
import numpy as np
import pytest

from adamkit.keras import Adam
from adamkit.lab import train

if keras.backend.backend() != "jax":
    pytest.skip("JAX only", allow_module_level=True)

import jax.numpy as jnp


def test_changed_hyperparameters_count_and_arrays_of_the_caller_stay():
    variable = keras.Variable(np.ones(4, np.float32))
    held = variable.value
    optimizer, expected = Adam(0.1), Adam(0.1)
    other = keras.Variable(np.ones(4, np.float32))
    gradient = jnp.arange(1.0, 5.0)
    expected.build([other])
    for beta_1 in (0.9, 0.9, 0.5):
        optimizer.beta_1 = expected.beta_1 = beta_1
        optimizer.apply([gradient], [variable])
        values, state = expected.stateless_apply([v.value for v in expected.variables], [gradient], [other.value])
        other.assign(values[0])
        for own, new in zip(expected.variables, state, strict=True):
            own.assign(new)
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(held, 1)
    np.testing.assert_array_equal(gradient, [1, 2, 3, 4])


@pytest.mark.slow
@pytest.mark.parametrize("moment_dtype", ["bfloat16", "int8"])
def test_a_population_with_narrow_moments_and_parameters_trains_as_fit_does(moment_dtype):
    x = np.random.default_rng(0).normal(size=(96, 64)).astype("float32")

    def model():
        keras.utils.set_random_seed(0)
        made = keras.Sequential([keras.Input((64,)), keras.layers.Dense(72, dtype="bfloat16"), keras.layers.Dense(1)])
        made.compile(Adam(0.003, moment_dtype=moment_dtype), loss="mse")
        return made

    options = {"epochs": 2, "batch_size": 32, "shuffle": False}
    expected, ours = model(), model()
    expected.fit(x, x[:, :1], verbose=0, **options)
    train(ours, x, x[:, :1], **options)
    for one, other in zip(ours.variables, expected.variables, strict=True):
        np.testing.assert_allclose(*(np.asarray(v.value, np.float32) for v in (one, other)), rtol=0.01, atol=1e-4)
    remainder = next(v for v in ours.optimizer.variables if v.name.endswith("_remainder"))
    assert np.asarray(remainder.value).any()
