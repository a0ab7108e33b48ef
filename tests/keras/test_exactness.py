"""`adamkit.keras.Adam` held to the oracle, step by step and over whole runs, in every dtype of a variable."""

import importlib

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

from adamkit.keras import Adam
from tests import reference

pytestmark = pytest.mark.optimized

WIDE = ["float32"] if keras.backend.backend() == "jax" else ["float32", "float64"]  # JAX: float64 is off by default


def as_numpy(tensor):
    """Any tensor or variable, exactly, as float64 or float32."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return ops.convert_to_numpy(ops.cast(tensor, "float64" if dtype == "float64" else "float32"))


def spread_gradients(rng, steps, size):
    """Gradients over 18 orders of magnitude, from 1e-12 to 1e6."""
    return rng.normal(size=(steps, size)) * 10 ** rng.uniform(-12, 6, (steps, size))


def run(optimizer, theta, gradients, dtype):
    """Yields, before and after each step, θ and the moments."""
    variable = keras.Variable(theta, dtype=dtype)
    optimizer.build([variable])

    def step(gradient):
        optimizer.apply([ops.cast(gradient, dtype)], [variable])

    if keras.backend.backend() == "tensorflow":  # as `fit` has it, and several times faster
        step = importlib.import_module("tensorflow").function(step)
    for gradient in gradients:
        before = [as_numpy(v) for v in (variable, optimizer._momentums[0], optimizer._velocities[0])]
        step(ops.convert_to_tensor(gradient))
        yield before, as_numpy(variable)


def ulps_of_step(before, after, gradient, t, dtype, **options):
    """How far θ after a step is from the exact one, in units in the last place of the larger of θ and its change."""
    numbers = [reference.number(values, exact=True) for values in before]
    exact = reference.step(reference.State(*numbers, numbers[2], t), gradient, exact=True, **options).theta
    size = np.maximum(np.abs(before[0]), np.abs((exact - numbers[0]).astype(dtype)))
    return reference.ulps(after, exact, size, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", WIDE)
def test_a_thousand_steps_each_within_4_ulp_and_no_further_from_the_exact_path_than_keras(dtype):
    rng = np.random.default_rng(0)
    # At 1 the rounding of θ itself, which both share, would hide the difference.
    theta = (0.001 * rng.normal(size=8)).astype(dtype)
    gradients = spread_gradients(rng, 1000, 8).astype(dtype)
    ours = Adam(0.001, epsilon_hat=True)
    learning_rate = float(as_numpy(ours.learning_rate))
    options = {"learning_rate": learning_rate, "epsilon": 1e-7, "epsilon_hat": True}
    path = reference.run(theta, gradients, exact=True, **options)
    farthest = []
    for t, ((before, after), exact_path) in enumerate(zip(run(ours, theta, gradients, dtype), path, strict=True)):
        assert ulps_of_step(before, after, gradients[t], t, dtype, **options) <= 4
        farthest.append(distance(after, exact_path))
    keras_path = run(keras.optimizers.Adam(0.001), theta, gradients, dtype)
    farthest_of_keras = [distance(after, exact) for (_, after), exact in zip(keras_path, path, strict=True)]
    # But for the last rounding of θ, which is the same size in both and luck in either.
    largest = max(np.abs(state.theta.astype(dtype)).max() for state in path)
    rounding_of_theta = np.spacing(largest) / 2
    assert (np.maximum.accumulate(farthest) <= np.maximum.accumulate(farthest_of_keras) + rounding_of_theta).all()
    assert farthest[-1] <= farthest_of_keras[-1] + rounding_of_theta


def distance(theta, exact_state):
    """The largest difference in a coordinate."""
    return float(np.abs(reference.number(theta, exact=True) - exact_state.theta).max())


def wrong_steps_in_narrow_dtype(optimizer, dtype):
    """Of 60 steps of 50 elements: how many differ from the exact step rounded once to `dtype`."""
    narrow = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[dtype]
    rng = np.random.default_rng(1)
    theta = rng.normal(size=50).astype(narrow).astype(np.float32)
    gradients = (rng.normal(size=(60, 50)) * 10 ** rng.uniform(-3, 1, (60, 50))).astype(narrow).astype(np.float32)
    wrong = 0
    for t, (before, after) in enumerate(run(optimizer, theta, gradients, dtype)):
        numbers = [reference.number(values, exact=True) for values in before]
        exact = reference.step(
            reference.State(*numbers, numbers[2], t), gradients[t], learning_rate=learning_rate(optimizer), epsilon=1e-7
        )
        rounded_once = exact.theta.astype(np.float64).astype(narrow).astype(np.float32)
        wrong += int((after != rounded_once).sum())
    return wrong


def learning_rate(optimizer):
    return float(as_numpy(optimizer.learning_rate))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_variable_moves_by_the_exact_step_rounded_once(dtype):
    # In 3,000 steps one may lie so near the middle of two neighbours that float32 arithmetic falls on the other side.
    assert wrong_steps_in_narrow_dtype(Adam(0.01, parameter_rounding="nearest"), dtype) <= 1
    assert wrong_steps_in_narrow_dtype(keras.optimizers.Adam(0.01), dtype) > 100


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_variables_train_where_those_of_keras_freeze_or_jump(dtype):
    def after_ten_steps(optimizer):
        variable = keras.Variable(np.ones(1), dtype=dtype)
        for _ in range(10):
            optimizer.apply([ops.cast(ops.convert_to_tensor([1e-3]), dtype)], [variable])
        return float(as_numpy(variable)[0])

    assert after_ten_steps(Adam(0.01)) == pytest.approx(0.9, abs=0.02)
    assert abs(after_ten_steps(keras.optimizers.Adam(0.01)) - 0.9) > 0.09


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.slow
def test_weight_decay_clipping_averaging_and_accumulation_round_a_narrow_variable_once(dtype):
    """They are float32 throughout: the same as on a float32 variable whose value is rounded after each step."""
    options = {"weight_decay": 0.1, "clipnorm": 300.0, "use_ema": True, "gradient_accumulation_steps": 2}
    options["parameter_rounding"] = "nearest"
    rng = np.random.default_rng(2)
    theta = rng.normal(size=30)
    gradients = [ops.cast(ops.convert_to_tensor(g), dtype) for g in rng.normal(size=(8, 30)) * 100]
    narrow, wide = keras.Variable(theta, dtype=dtype), keras.Variable(theta, dtype="float32")
    wide.assign(ops.cast(narrow, "float32"))
    ours, expected = Adam(0.01, **options), Adam(0.01, **options)
    for gradient in gradients:
        ours.apply([gradient], [narrow])
        expected.apply([ops.cast(gradient, "float32")], [wide])
        wide.assign(ops.cast(ops.cast(wide, dtype), "float32"))
        np.testing.assert_array_equal(as_numpy(narrow), as_numpy(wide))
    average = as_numpy(ours._model_variables_moving_average[0])
    np.testing.assert_allclose(average, as_numpy(expected._model_variables_moving_average[0]), rtol=0.02, atol=1e-3)
    ours.finalize_variable_values([narrow])
    np.testing.assert_array_equal(as_numpy(narrow), as_numpy(ops.cast(ops.convert_to_tensor(average), dtype)))


def test_a_narrow_floatx_does_not_round_the_learning_rate():
    before = keras.config.floatx()
    try:
        keras.config.set_floatx("bfloat16")
        optimizer = Adam(0.001)
    finally:
        keras.config.set_floatx(before)
    assert learning_rate(optimizer) == np.float32(0.001)


def test_nan_and_infinite_gradients_show_and_harm_no_neighbour():
    variable = keras.Variable(np.ones(3, np.float32))
    Adam(0.01).apply([ops.convert_to_tensor(np.float32([np.nan, np.inf, 1]))], [variable])
    assert np.isnan(as_numpy(variable)[:2]).all()
    assert as_numpy(variable)[2] == pytest.approx(0.99)


def test_bfloat16_moments_follow_float32_ones():
    """Rounded to the nearest, v would stay where it was after the first steps: here it follows as it should."""
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(400, 64)).astype(np.float32) * np.geomspace(3, 0.01, 400, dtype=np.float32)[:, None]
    states = []
    for moment_dtype in ("float32", "bfloat16"):
        optimizer = Adam(0.01, beta_2=0.99, moment_dtype=moment_dtype)
        *_, (_, theta) = run(optimizer, np.ones(64), gradients, "float32")
        assert keras.backend.standardize_dtype(optimizer._velocities[0].dtype) == moment_dtype
        states.append((theta, as_numpy(optimizer._velocities[0])))
    (theta, v), (theta_narrow, v_narrow) = states
    np.testing.assert_allclose(v_narrow, v, rtol=0.08)
    assert abs((v_narrow / v).mean() - 1) < 0.01  # no bias
    np.testing.assert_allclose(theta_narrow, theta, atol=0.02)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the kernel steps PyTorch's tensors")
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "weight_decay": 0.1}, {"clipnorm": 0.5}], ids=str)
def test_the_kernel_and_the_rule_give_the_same_bits(options, monkeypatch):
    from adamkit.keras import one_pass

    kernel = one_pass.cpu_kernel()
    launches = []
    monkeypatch.setattr(kernel, "step", lambda *a, step=kernel.step, **b: launches.append(1) or step(*a, **b))
    results = []
    for used in (kernel, None):
        monkeypatch.setattr(one_pass, "cpu_kernel", lambda used=used: used)
        rng = np.random.default_rng(4)
        variables = [keras.Variable(rng.normal(size=shape), dtype=d) for shape, d in (((7, 5), WIDE[0]), (3, WIDE[1]))]
        optimizer = Adam(0.01, **options)
        for _ in range(5):
            gradients = [ops.convert_to_tensor(rng.normal(size=v.shape).astype(v.dtype)) for v in variables]
            optimizer.apply(gradients, variables)
        results.append([as_numpy(v) for v in (*variables, *optimizer.variables)])
        assert bool(launches) == (used is not None)
        launches.clear()
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
