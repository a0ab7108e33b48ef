"""The rule and its use on NumPy arrays, held to the oracle."""

import doctest
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adamkit
from adamkit import functional, rule
from tests import reference

pytestmark = pytest.mark.optimized

rates = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@given(st.integers(1, 10**9), st.floats(0.0, 1 - 1e-9, allow_subnormal=False))
def test_bias_correction_loses_no_digit_at_any_step(step, beta):
    exact = 1 - mpmath.mpf(beta) ** step
    assert rule.bias_correction(step, rule.Decay.of(beta)) == pytest.approx(float(exact), rel=2e-15, abs=0)


@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32), rates)
def test_moving_average_lies_between_its_ends_and_is_right_to_rounding(average, value, beta):
    average, value = np.float32(average), np.float32(value)
    result = rule.moving_average(average, value, rule.Decay.of(beta), np)
    exact = beta * float(average) + (1 - beta) * float(value)
    assert abs(float(result) - exact) <= 2 * np.spacing(max(abs(average), abs(value)))
    traced = rule.Decay(*map(np.float32, rule.Decay.of(beta)))
    assert abs(float(rule.moving_average(average, value, traced, np)) - exact) <= 4 * np.spacing(
        max(abs(average), abs(value))
    )


@given(st.floats(-1e3, 1e3, width=32), st.integers(0, 10**6), rates | st.sampled_from([0.0, 0.9, 0.999]))
def test_steps_without_a_gradient_are_a_power_of_the_decay(moment, missed, beta):
    result = rule.faded(np.float32([moment]), np.float32([missed]), rule.Decay.of(beta), np)[0]
    exact = float(mpmath.mpf(moment) * mpmath.mpf(beta) ** missed)
    exponent = -missed * math.log(beta) if beta > 0 else 0.0  # whose rounding the power magnifies
    assert abs(float(result) - exact) <= (2 + exponent) * 2.0**-23 * abs(exact) + 2.0**-126 * (1 + abs(moment))


options = st.fixed_dictionaries(
    {
        "learning_rate": st.sampled_from([0.0, 1e-4, 0.01]),
        "beta_1": st.sampled_from([0.0, 0.3, 0.9, 0.99]),
        "beta_2": st.sampled_from([0.0, 0.5, 0.99, 0.999, 0.99999]),
        "epsilon": st.sampled_from([1e-12, 1e-8, 1e-3]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
        "decoupled": st.booleans(),
        "epsilon_hat": st.booleans(),
        "bias_correction": st.booleans(),
        "adaptivity": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(options, st.booleans(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_steps_follow_the_oracle(options, amsgrad, dtype, seed):
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=5).astype(dtype)
    gradients = (rng.normal(size=(12, 5)) * 10 ** rng.uniform(-3, 3, (12, 5))).astype(dtype)
    expected = reference.run(theta, gradients, amsgrad=amsgrad, exact=True, **options)
    state = adamkit.init(theta, amsgrad=amsgrad)
    for gradient, exact in zip(gradients, expected, strict=True):
        theta, state = adamkit.step(theta, gradient, state, **options)
        tolerance = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(theta, exact.theta.astype(np.float64), rtol=tolerance, atol=tolerance)
    assert state.step == 12
    assert theta.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_step_is_within_4_ulp_of_the_exact_one(dtype):
    rng = np.random.default_rng(0)
    theta = rng.normal(size=40).astype(dtype)
    state = adamkit.init(theta)
    for _ in range(300):
        gradient = (rng.normal(size=40) * 10 ** rng.uniform(-12, 6, 40)).astype(dtype)
        m, v = (reference.number(moment, exact=True) for moment in (state.first_moment, state.second_moment))
        before = reference.State(reference.number(theta, exact=True), m, v, v, state.step)
        exact = reference.step(before, gradient, exact=True).theta
        size = np.maximum(np.abs(theta), np.abs(exact - before.theta).astype(dtype))
        theta, state = adamkit.step(theta, gradient, state)
        assert reference.ulps(theta, exact, size, dtype) <= 4


def test_first_step_has_the_size_of_the_learning_rate_for_any_gradient():
    gradient = np.array([1e-3, -1.0, 1e6])
    theta, _ = adamkit.step(np.zeros(3), gradient, adamkit.init(np.zeros(3)), learning_rate=0.01, epsilon=0.0)
    np.testing.assert_allclose(theta, -0.01 * np.sign(gradient), rtol=1e-12)


@pytest.mark.parametrize(("beta_1", "factor"), [(0.9, math.sqrt(10)), (0.0, math.sqrt(1000))])
def test_first_step_without_bias_correction_is_so_many_times_as_large(beta_1, factor):
    options = {"learning_rate": 0.01, "beta_1": beta_1, "epsilon": 0.0, "bias_correction": False}
    theta, _ = adamkit.step(np.zeros(2), np.array([3.0, -1e-4]), adamkit.init(np.zeros(2)), **options)
    np.testing.assert_allclose(theta, [-0.01 * factor, 0.01 * factor], rtol=1e-12)


def test_without_adaptivity_the_step_is_linear_in_the_gradient():
    """And with β₁ = 0 it is gradient descent."""
    state, gradient = adamkit.init(np.zeros(3)), np.array([1.0, -20.0, 1e6])
    theta, state = adamkit.step(np.zeros(3), gradient, state, learning_rate=0.5, beta_1=0.0, adaptivity=False)
    np.testing.assert_array_equal(theta, -0.5 * gradient)
    np.testing.assert_array_equal(state.second_moment, 0)


def test_epsilon_hat_weighs_32_times_as_much_on_the_first_step():
    paper = rule.coefficients(1, 1.0, rule.Decay.of(0.9), rule.Decay.of(0.999), 1e-7)
    keras = rule.coefficients(1, 1.0, rule.Decay.of(0.9), rule.Decay.of(0.999), 1e-7, epsilon_hat=True)
    assert keras.epsilon / paper.epsilon == pytest.approx(1 / math.sqrt(0.001))


largest = float(np.finfo(np.float32).max)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-largest, largest, width=32), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.9, 0.999]),
    st.sampled_from([0.0, 0.4, 0.5, 0.999, 0.99999]),
    st.booleans(),
)
def test_every_finite_gradient_gives_a_step_of_bounded_size(gradients, beta_1, beta_2, amsgrad):
    """Kingma and Ba 2015, section 2.1: |Δ| <= η·(1 - β₁)/√(1 - β₂), or η where that is larger."""
    theta = np.zeros(1, np.float32)
    state = adamkit.init(theta, amsgrad=amsgrad)
    for gradient in gradients:
        before = theta
        theta, state = adamkit.step(
            theta, np.float32([gradient]), state, learning_rate=1.0, beta_1=beta_1, beta_2=beta_2
        )
        assert abs(theta - before) <= 40 * max(1.0, 1 / math.sqrt(1 - beta_2))
        assert np.isfinite(state.second_moment)


@pytest.mark.parametrize("scale", [1e10, 1e18, 2.0**62])
def test_gradients_of_any_scale_give_the_same_steps(scale):
    """Up to √(1 - β₂)·|g| of 1.8e19, beyond which v has no number for it."""
    gradients = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
    paths = []
    for factor in (1.0, scale):
        theta = np.zeros(30, np.float32)
        state = adamkit.init(theta)
        for gradient in gradients:
            theta, state = adamkit.step(theta, gradient * np.float32(factor), state, epsilon=0.0)
        paths.append(theta)
    np.testing.assert_allclose(*paths, rtol=1e-5, atol=1e-7)


def test_nan_and_infinite_gradients_show_and_harm_no_neighbour():
    theta = np.ones(3, np.float32)
    with np.errstate(invalid="ignore"):
        theta, _ = adamkit.step(theta, np.float32([np.nan, np.inf, 1]), adamkit.init(theta))
    assert np.isnan(theta[:2]).all()
    assert theta[2] == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("name", "value", "error", "accepted"),
    [
        ("learning_rate", -0.1, ValueError, "a finite number >= 0"),
        ("learning_rate", math.inf, ValueError, "a finite number >= 0"),
        ("learning_rate", math.nan, ValueError, "a finite number >= 0"),
        ("learning_rate", "0.1", TypeError, "a finite number >= 0"),
        ("beta_1", 1.0, ValueError, "< 1"),
        ("beta_1", True, TypeError, "< 1"),
        ("beta_2", -0.5, ValueError, "< 1"),
        ("epsilon", -1e-8, ValueError, "a finite number >= 0"),
        ("weight_decay", None, TypeError, "a finite number >= 0"),
        ("decoupled", 1, TypeError, "True or False"),
        ("epsilon_hat", "yes", TypeError, "True or False"),
        ("bias_correction", 0, TypeError, "True or False"),
        ("adaptivity", None, TypeError, "True or False"),
    ],
)
def test_bad_hyperparameters_are_named_with_what_is_accepted(name, value, error, accepted):
    with pytest.raises(error, match=f"{name} must be .*{accepted}.*{name}="):
        adamkit.step(np.ones(2), np.ones(2), adamkit.init(np.ones(2)), **{name: value})


def test_bad_arrays_are_named():
    with pytest.raises(TypeError, match="parameter must be an array of floating-point numbers"):
        adamkit.init(np.array([1, 2]))
    with pytest.raises(ValueError, match="gradient must have the parameter's shape"):
        adamkit.step(np.ones(2), np.ones(3), adamkit.init(np.ones(2)))
    with pytest.raises(TypeError, match="amsgrad must be True or False"):
        adamkit.init(np.ones(2), amsgrad=1)


def test_the_arguments_are_left_as_they_are():
    theta, gradient = np.ones(3), np.ones(3)
    state = adamkit.init(theta)
    adamkit.step(theta, gradient, state)
    assert (theta == 1).all()
    assert (gradient == 1).all()
    assert (state.first_moment == 0).all()


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(functional).failed == 0
