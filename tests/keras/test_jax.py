"""On JAX, outside of `jax.jit`, a step is one compiled program; it must not be seen but in its speed."""

import keras
import numpy as np
import pytest

from adamkit.keras import Adam

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
