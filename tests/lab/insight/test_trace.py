"""Each number of a trace is Algorithm 1's, and the numbers put into the formulas give it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.lab.errors import InputError
from adamkit.lab.insight import paths
from adamkit.lab.insight.charts.trace import contour_lines, paths_on_contours
from adamkit.lab.insight.landscapes import LANDSCAPES
from adamkit.lab.insight.trace import trace
from tests import reference

gradients = st.lists(st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3), min_size=1, max_size=8)
options = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-4, 1),
        "beta_1": st.floats(0, 0.99),
        "beta_2": st.floats(0, 0.9999),
        "epsilon": st.floats(1e-8, 1),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "amsgrad": st.booleans(),
        "epsilon_hat": st.booleans(),
        "bias_correction": st.booleans(),
        "adaptivity": st.booleans(),
    }
)


@settings(deadline=None)
@given(gradients, st.floats(-10, 10), options)
def test_every_quantity_is_algorithm_1s(gradients, start, options):
    traced = trace(gradients, start, **options)
    expected = reference.run([start], [[g] for g in gradients], **options)
    for step, state in zip(traced.steps, expected, strict=True):
        np.testing.assert_allclose(step.after, state.theta, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(step.first_moment, state.m, rtol=1e-11, atol=1e-9)
        one, two = (1 - options[name] ** state.t if options["bias_correction"] else 1 for name in ("beta_1", "beta_2"))
        np.testing.assert_allclose(step.m_hat, state.m / one, rtol=1e-9, atol=1e-9)
        if options["adaptivity"]:
            second = state.v_max if options["amsgrad"] else state.v
            np.testing.assert_allclose(step.second_moment, state.v, rtol=1e-11)
            np.testing.assert_allclose(step.v_hat, second / two, rtol=1e-9)
        np.testing.assert_allclose(step.before - step.change, step.after, rtol=1e-12, atol=1e-12)


def calculated(text):
    """What a line of numbers gives."""
    text = text.replace("−", "-").replace("·", "*").replace("²", "**2").replace("^", "**")
    return eval(re.sub(r"√([\d.e+-]+)", r"(\1)**0.5", text), {"__builtins__": {}})


@settings(deadline=None)
@given(gradients, st.floats(-10, 10), options)
def test_the_numbers_put_into_a_formula_give_its_result(gradients, start, options):
    traced = trace(gradients, start, **options)
    t = len(gradients)
    for symbol, lines in traced.explained(t):
        result = calculated(lines[-1])
        for line in lines[1:-1]:
            terms = [calculated(number) for number in re.findall(r"−?\d[\d.]*(?:e[+−]\d+)?", line)]
            scale = max(abs(term) for term in terms) if symbol in ("m", "θ") else abs(result)
            np.testing.assert_allclose(calculated(line), result, rtol=1e-3, atol=1e-3 * scale + 1e-4, err_msg=line)


def test_a_step_in_full():
    parts = dict(trace([0.5, 0.5, -1], learning_rate=0.1).explained(3))
    assert parts["g"] == ["the gradient", "−1"]
    assert parts["m"] == ["β₁·m + (1 − β₁)·g", "0.9·0.095 + 0.1·(−1)", "−0.0145"]
    assert parts["m̂"] == ["m / (1 − β₁ᵗ)", "−0.0145 / (1 − 0.9^3)", "−0.0145 / 0.271", "−0.0535055"]
    assert parts["θ"][-1] == "−0.192435"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "gradients must have one number at least"),
        ((["fast"],), "gradients must be numbers. Received: 'fast'"),
        (([float("nan")],), "gradients must be finite numbers"),
        (([[1.0, 2.0]],), "gradients must have 1 numbers a step, as start. Received: 2"),
        ((lambda theta: theta,), "steps must be a whole number >= 1"),
    ],
)
def test_gradients_that_are_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        trace(*arguments)


def test_hyperparameters_and_steps_that_are_wrong():
    with pytest.raises(InputError, match="must be among learning_rate, beta_1"):
        trace([1.0], beta1=0.5)
    with pytest.raises(InputError, match="beta_1 must be"):
        trace([1.0], beta_1=1.0)
    with pytest.raises(InputError, match=r"step must be one of the 1 steps, from 1\. Received: step=2"):
        trace([1.0]).explained(2)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_a_landscapes_gradient_is_that_of_its_value_and_is_zero_in_its_minima(name):
    known = LANDSCAPES[name]
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(-2, 2, (20, 2)):
        h = 1e-5
        dx = (known.value(x + h, y) - known.value(x - h, y)) / (2 * h)
        dy = (known.value(x, y + h) - known.value(x, y - h)) / (2 * h)
        np.testing.assert_allclose(known.gradient(x, y), (dx, dy), rtol=1e-5, atol=1e-5)
    for minimum in known.minima:
        np.testing.assert_allclose(known.gradient(*minimum), 0, atol=1e-3)
        assert known.value(*minimum) < 1e-9
    low_x, high_x, low_y, high_y = known.window
    for x, y in (known.start, *known.minima):
        assert low_x <= x <= high_x
        assert low_y <= y <= high_y


@pytest.mark.parametrize("name", LANDSCAPES)
def test_contours_are_where_the_function_has_the_level(name):
    known = LANDSCAPES[name]
    low_x, high_x, low_y, high_y = known.window
    x, y = np.linspace(low_x, high_x, 81), np.linspace(low_y, high_y, 81)
    values = known.value(x[None], y[:, None])
    level = np.quantile(values, 0.3)
    pieces = contour_lines(x, y, values, [level])
    assert len(pieces) > 40
    along = np.concatenate([pieces[:, :2], pieces[:, 2:]])
    across = np.hypot(*known.gradient(along[:, 0], along[:, 1])) + 1
    cell = np.hypot(x[1] - x[0], y[1] - y[0])
    assert (np.abs(known.value(along[:, 0], along[:, 1]) - level) / across).max() < cell
    assert (np.hypot(*(pieces[:, :2] - pieces[:, 2:]).T) <= cell + 1e-9).all()


def test_the_paths_of_others_follow_their_formulas():
    known = LANDSCAPES["ravine"]
    found = {path.name: path for path in paths.others(known, known.start, 20)}
    assert list(found) == ["SGD", "momentum", "AdaGrad", "RMSProp"]
    for path in found.values():
        assert path.points.shape == (21, 2)
        assert path.points[0].tolist() == list(known.start)
        assert known.value(*path.points[-1]) < known.value(*known.start)
    rate, point = found["SGD"].learning_rate, np.array(known.start)
    for after in found["SGD"].points[1:]:
        point = point - rate * np.array(known.gradient(*point))
        np.testing.assert_allclose(after, point, rtol=1e-4, atol=1e-5)
    point, velocity = np.array(known.start), np.zeros(2)
    for after in found["momentum"].points[1:]:
        velocity = 0.9 * velocity + np.array(known.gradient(*point))
        point = point - found["momentum"].learning_rate * velocity
        np.testing.assert_allclose(after, point, rtol=1e-3, atol=1e-4)
    chart = paths_on_contours("ravine", known, list(found.values())).to_dict()
    assert f"SGD {rate:g}" in str(chart)
