"""Large variables on TensorFlow: one program of XLA steps them, also where nothing else is compiled by it."""

import keras
import numpy as np
import pytest

from adamkit.keras import Adam, one_pass
from tests.keras.test_exactness import WIDE, as_numpy, run, spread_gradients, ulps_of_step

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")

LARGE = 16


@pytest.fixture(autouse=True)
def from_sixteen_elements_on(monkeypatch):
    monkeypatch.setattr(one_pass, "_LARGE", LARGE)


def programs(optimizer):
    return len(one_pass._PROGRAMS.get(optimizer, {}))


@pytest.mark.parametrize("dtype", WIDE)
def test_each_step_is_the_oracles_within_4_ulp(dtype):
    most = 4 if dtype == "float32" else 5  # the numbers of a step are float64 themselves
    rng = np.random.default_rng(0)
    theta = (0.001 * rng.normal(size=LARGE)).astype(dtype)
    gradients = spread_gradients(rng, 30, LARGE).astype(dtype)
    optimizer = Adam(0.001)
    options = {"learning_rate": float(as_numpy(optimizer.learning_rate)), "epsilon": 1e-7}
    for t, (before, after) in enumerate(run(optimizer, theta, gradients, dtype)):
        assert ulps_of_step(before, after, gradients[t], t, dtype, **options) <= most
    assert programs(optimizer) == 1


def test_nan_infinite_and_very_large_gradients_show_and_harm_no_neighbour():
    variable = keras.Variable(np.ones(LARGE, np.float32))
    optimizer = Adam(0.01)
    for gradient in ([np.nan, np.inf, -np.inf, 3e38], [1.0, 1.0, 1.0, -3e38]):
        optimizer.apply([keras.ops.array(np.float32(gradient + [1.0] * (LARGE - 4)))], [variable])
    theta = as_numpy(variable)
    assert np.isnan(theta[:3]).all()
    assert abs(theta[3] - 1) < 0.02
    np.testing.assert_allclose(theta[4:], 0.98, rtol=1e-6)
    assert programs(optimizer) == 1


@pytest.mark.parametrize("options", [{}, {"moment_dtype": "bfloat16", "weight_decay": 0.1, "amsgrad": True}], ids=str)
def test_a_large_variable_has_the_same_bits_eagerly_and_in_a_graph_and_nearly_so_where_all_is_compiled(options):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    start, *gradients = rng.normal(size=(4, LARGE)).astype("float32")
    paths = []
    for compiled in (None, False, True):
        variables = [keras.Variable(start), keras.Variable(start[:3])]
        optimizer = Adam(0.01, **options)
        optimizer.build(variables)

        def step(gradient, optimizer=optimizer, variables=tuple(variables)):
            optimizer.apply([gradient, gradient[:3]], variables)

        call = step if compiled is None else tf.function(lambda g, step=step: step(g), jit_compile=compiled)
        for gradient in gradients:
            call(tf.constant(gradient))
        assert programs(optimizer) == 1
        paths.append([as_numpy(variable) for variable in (*variables, *optimizer.variables)])
    eagerly, in_graph, all_compiled = paths
    for one, two, three in zip(eagerly, in_graph, all_compiled, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, three, rtol=1e-5)


def test_other_numbers_of_the_optimizer_are_used_at_once():
    variable, optimizer = keras.Variable(np.ones(LARGE, np.float32)), Adam(0.01)
    gradient = keras.ops.zeros(LARGE)
    optimizer.apply([gradient], [variable])
    optimizer.weight_decay, optimizer.learning_rate = 0.5, 0.1
    optimizer.apply([gradient], [variable])
    np.testing.assert_allclose(as_numpy(variable), 0.95, rtol=1e-6)


def test_variables_below_the_threshold_are_stepped_without_a_compiler(monkeypatch):
    monkeypatch.undo()
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in ((1,), (2**15 - 1,), (2**7, 2**8))]
    optimizer = Adam(0.01)
    optimizer.apply([keras.ops.ones(variable.shape) for variable in variables], variables)
    assert list(one_pass._PROGRAMS[optimizer]) == [(id(variables[2]),)]
    for variable in variables:
        np.testing.assert_allclose(as_numpy(variable), 0.99, rtol=1e-6)
