import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from adamkit.lab.errors import InputError
from adamkit.lab.sweeping.spaces import HYPERPARAMETERS, METHODS, Range, draw, grid, parse, settings_of, size

LOG = [known.name for known in HYPERPARAMETERS.values() if known.scale == "log"]
NUMBERS = [known.name for known in HYPERPARAMETERS.values() if known.kind == "number"]
INTEGERS = [known.name for known in HYPERPARAMETERS.values() if known.kind == "integer"]


@st.composite
def ranges(draw_one, points=None):
    """A name and a range that it accepts."""
    name = draw_one(st.sampled_from(NUMBERS + INTEGERS))
    known = HYPERPARAMETERS[name]
    scale = draw_one(st.sampled_from([None, "log", "linear"]))
    largest = min(known.below, known.maximum, 1e3) * (1 - 1e-6)
    values = st.integers(1, 10**6) if known.kind == "integer" else st.floats(1e-12, largest)
    low, high = sorted((draw_one(values), draw_one(values)))
    assume(low < high * (1 - 1e-6))
    return name, Range(low, high, scale, draw_one(points if points is not None else st.none() | st.integers(2, 99)))


few = settings(max_examples=30)  # a Sobol sequence takes its time
spaces = st.lists(ranges(st.integers(2, 5)), min_size=1, max_size=3).map(dict)
open_spaces = st.lists(ranges(), min_size=1, max_size=4).map(dict)


@given(ranges())
def test_the_text_of_a_range_is_parsed_to_the_same_range(named):
    name, values = named
    assert parse(name, str(values)) == values


@given(st.sampled_from(NUMBERS), st.lists(st.floats(0, 0.999), min_size=1, max_size=5))
def test_the_text_of_values_is_parsed_to_the_same_values(name, values):
    assert parse(name, ", ".join(map(repr, values))) == values


@given(ranges(st.integers(2, 200)))
def test_a_grid_of_one_range_rises_from_end_to_end(named):
    name, values = named
    found = [setting[name] for setting in grid({name: values})]
    assert found[0] == values.low
    assert found[-1] == values.high
    assert all(a < b for a, b in itertools.pairwise(found))
    assert len(found) <= values.points


@given(st.floats(1e-9, 1e-3), st.floats(10, 1e4), st.integers(3, 50))
def test_learning_rates_have_one_ratio_and_gradients_in_a_mean_too(low, ratio, points):
    rates = np.array([s["learning_rate"] for s in grid({"learning_rate": Range(low, low * ratio, points=points)})])
    np.testing.assert_allclose(rates[1:] / rates[:-1], ratio ** (1 / (points - 1)), rtol=1e-9)
    betas = np.array([s["beta_2"] for s in grid({"beta_2": Range(1 - 0.5, 1 - 0.5 / ratio, points=points)})])
    np.testing.assert_allclose((1 - betas[:-1]) / (1 - betas[1:]), ratio ** (1 / (points - 1)), rtol=1e-9)


def test_values_are_the_decimals_that_a_reader_expects():
    assert [s["learning_rate"] for s in grid({"learning_rate": "1e-5..1e-1:5"})] == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert [s["beta_2"] for s in grid({"beta_2": "0.9..0.9999:4"})] == [0.9, 0.99, 0.999, 0.9999]
    assert [s["batch_size"] for s in grid({"batch_size": "16..256:log:5"})] == [16, 32, 64, 128, 256]
    assert [s["cosine_alpha"] for s in grid({"cosine_alpha": "0..1:3"})] == [0.0, 0.5, 1.0]


@given(spaces)
def test_a_grid_has_every_combination_once_and_no_more_than_size_says(space):
    settings = grid(space)
    axes = [[s[name] for s in grid({name: space[name]})] for name in space]
    assert [tuple(setting.values()) for setting in settings] == list(itertools.product(*axes))
    assert len(settings) <= size(space) == math.prod(values.points for values in space.values())
    assert size(settings) == len(settings)


def test_a_value_given_twice_counts_once():
    assert grid({"beta_1": [0.9, 0.9, 0.8]}) == [{"beta_1": 0.9}, {"beta_1": 0.8}]
    assert len(grid({"batch_size": "1..4:linear:50"})) == 4
    assert len(draw({"amsgrad": "true,false", "batch_size": "1..2"}, 100)) == 4


def test_size_does_not_make_the_space():
    million = Range(1e-5, 0.5, points=10**6)
    assert size({"learning_rate": million, "epsilon": million, "beta_1": million}) == 10**18


@given(open_spaces, st.integers(1, 40), st.sampled_from(METHODS), st.integers(0, 2**32))
@few
def test_draws_are_within_the_space_different_and_repeatable(space, n, method, seed):
    settings = draw(space, n, method=method, seed=seed)
    assert 1 <= len(settings) <= n
    assert len({tuple(setting.items()) for setting in settings}) == len(settings)
    assert settings == draw(space, n, method=method, seed=seed)
    for setting in settings:
        assert list(setting) == list(space)
        for name, value in setting.items():
            assert space[name].low <= value <= space[name].high
            assert type(value) is (int if name in INTEGERS else float)
            if space[name].points is not None:
                assert {name: value} in grid({name: space[name]})


@pytest.mark.parametrize("method", METHODS)
def test_draws_are_even_on_the_habitual_scale(method):
    settings = draw({"learning_rate": "1e-6..1", "beta_2": "0.9..0.9999", "cosine_alpha": "0..1"}, 512, method=method)
    shares = {
        "learning_rate": lambda x: (math.log10(x) + 6) / 6,
        "beta_2": lambda x: (-math.log10(1 - x) - 1) / 3,
        "cosine_alpha": lambda x: x,
    }
    for name, share in shares.items():
        assert kstest([share(setting[name]) for setting in settings], "uniform").pvalue > 1e-4


def test_both_ends_of_whole_numbers_come_up_as_often_as_the_rest():
    drawn = draw({"warmup_steps": "0..3", "learning_rate": "1e-5..1"}, 1024)
    counts = np.bincount([setting["warmup_steps"] for setting in drawn])
    np.testing.assert_allclose(counts, 256, rtol=0.02)


def test_sobol_leaves_smaller_gaps_than_random_draws():
    gaps = {}
    for method in METHODS:
        rates = [
            s["learning_rate"] for s in draw({"learning_rate": "1e-5..1", "beta_1": "0..0.99"}, 256, method=method)
        ]
        gaps[method] = np.diff(np.sort(np.log10(rates))).max()
    assert gaps["sobol"] < gaps["random"] / 2


@given(open_spaces, st.integers(1, 20))
@few
def test_settings_are_taken_as_they_are(space, n):
    settings = draw(space, n)
    assert settings_of(settings) == settings
    assert settings_of(settings + settings) == settings + settings  # a tuner may ask for one setting twice


def test_a_mapping_is_a_grid_and_numpy_values_are_as_good_as_pythons():
    space = {
        "learning_rate": np.geomspace(1e-4, 1e-1, 4),
        "batch_size": np.array([32, 64]),
        "amsgrad": np.array([True]),
    }
    settings = settings_of(space)
    assert settings == grid(space)
    assert size(space) == len(settings) == 8
    for setting in settings:
        assert [type(value) for value in setting.values()] == [float, int, bool]
    assert grid({"learning_rate": 0.1, "amsgrad": False}) == [{"learning_rate": 0.1, "amsgrad": False}]


@given(st.sampled_from(LOG), st.lists(st.floats(1e-9, 0.999), min_size=1, max_size=9))
def test_positions_on_a_scale_have_an_inverse_and_an_order(name, values):
    known = HYPERPARAMETERS[name]
    values = np.sort(values)
    np.testing.assert_allclose(known.at(known.position(values)), values, rtol=1e-10, atol=1e-10)
    assert (np.diff(known.position(values)) >= 0).all()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "space must have at least one of learning_rate, .* Received: an empty space"),
        ([], "space must have at least one setting"),
        ([{}], "Received: an empty space"),
        (None, "space must be a mapping .* Received: None"),
        ("1e-5..1", "space must be a mapping"),
        ([0.1], "list of mappings .* Received: 0.1 at place 0"),
        ([{"beta_1": 0.9}, {"beta_2": 0.9}], "Received: beta_1 at place 0, beta_2 at place 1"),
        ([{"beta_1": 0.9}, {}], "none at place 1"),
        ([{"beta_1": "0.9"}], "beta_1 must be a finite number >= 0 and < 1. Received: beta_1='0.9'"),
        ({"learning_rate": []}, "learning_rate must have at least one value"),
        ({"learning_rate": None}, "learning_rate must be a value, a list of values or a Range. Received: .*None"),
        ({"learning_rate": "1e-1..1e-5:5"}, "from a smaller to a larger value. Received: learning_rate=0.1..1e-05:5"),
        ({"learning_rate": Range(0.1, 0.1, points=3)}, "from a smaller to a larger value"),
        ({"learning_rate": "0..1:5"}, "log scale must begin above 0. Received: learning_rate=0.0..1.0:5"),
        ({"batch_size": "0..64:5"}, "batch_size must be a whole number >= 1"),
        ({"warmup_steps": "0..64:log:5"}, "log scale must begin above 0"),
        ({"learning_rate": "1e-5..1"}, "In a grid, learning_rate must have a number of points. .*1e-05..1.0:10, or"),
        ({"learning_rate": "1e-5..1:log"}, "Write, for 10 of them, 1e-05..1.0:log:10"),
        (
            {"learning_rate": "1e-5..1:1"},
            "number of points of learning_rate must be a whole number >= 2 and <= 1,000,000",
        ),
        ({"learning_rate": Range(0.1, 1, points=2.5)}, "whole number >= 2 and <= 1,000,000. Received: 2.5"),
        ({"learning_rate": Range(0.1, 1, "cubic", 3)}, "scale of learning_rate must be one of log, linear"),
        ({"learning_rate": "1e-5..1:cubic:3"}, "learning_rate must be values"),
        ({"learning_rate": "1e-5..1:log:3:4"}, "learning_rate must be values"),
        ({"learning_rate": "1e-5..1:-3"}, "learning_rate must be values"),
        ({"learning_rate": "1e-5:..1"}, "learning_rate must be values"),
        ({"learning_rate": "0.1,,0.2"}, "Received: learning_rate=''"),
        ({"learning_rate": "0.1,ten"}, "finite number >= 0. Received: learning_rate='ten'. Write values"),
        ({"learning_rate": "..1:3"}, "Received: learning_rate=''"),
        ({"learning_rate": "0.1..0.2..0.3"}, "Received: learning_rate='0.2..0.3'"),
        ({"learning_rate": [0.1, "ten"]}, "finite number >= 0. Received: learning_rate='ten'"),
        ({"learning_rate": [math.inf]}, "finite number >= 0. Received: learning_rate=inf"),
        ({"learning_rate": Range(0.1, math.nan)}, "finite number >= 0. Received: learning_rate=nan"),
        ({"learning_rate": 10**400}, "finite number >= 0"),
        ({"learning_rate": [True]}, "finite number >= 0. Received: learning_rate=True"),
        ({"learning_rate": -1e-3}, "finite number >= 0. Received: learning_rate=-0.001"),
        ({"beta_1": [0.9, 1.0]}, "beta_1 must be a finite number >= 0 and < 1. Received: beta_1=1.0"),
        ({"beta_2": "0.9..1:3"}, "beta_2 must be a finite number >= 0 and < 1. Received: beta_2=1.0"),
        ({"cosine_alpha": 1.5}, "cosine_alpha must be a number from 0 to 1. Received: cosine_alpha=1.5"),
        ({"batch_size": [32.5]}, "batch_size must be a whole number >= 1 and < 2³¹. Received: batch_size=32.5"),
        ({"batch_size": 10**20}, "batch_size must be .* < 2³¹. Received: batch_size=100,000,000,000,000,000,000"),
        ({"warmup_steps": "1e30"}, "warmup_steps must be a whole number >= 0 and < 2³¹. Received: warmup_steps=1e"),
        ({"learning_rate": "1e-5..1:log:1000000000"}, "points of learning_rate must be .*Received: 1,000,000,000"),
        ({"learning_rate": "1e-5..1:" + "9" * 5000}, "points of learning_rate must be .*Received: 99,999"),
        ({"learning_rate": "1e-5..1:1000", "beta_1": "0..0.9:1001"}, "at most 1,000,000 runs. Received: 1,001,000 set"),
        ({"learning_rate": 10**5000}, "finite number >= 0. Received: learning_rate=a number of about 10\\^5000"),
        ({"warmup_steps": "-1"}, "warmup_steps must be a whole number >= 0"),
        ({"amsgrad": [1]}, "amsgrad must be true or false. Received: amsgrad=1"),
        ({"amsgrad": "yes"}, "amsgrad must be true or false. Received: amsgrad='yes'"),
        ({"amsgrad": "0..1:2"}, "amsgrad must be true or false, or both, as true,false. Received: amsgrad=0.0..1.0:2"),
        ({"amsgrad": Range(0, 1, points=2)}, "amsgrad must be true or false, or both, as true,false"),
        ({"learning-rate": 0.1}, "Received: 'learning-rate'. Did you mean 'learning_rate'"),
        ({"beta1": 0.1}, "Received: 'beta1'. Did you mean 'beta_1'"),
        ({3: 0.1}, "must be one of learning_rate, .* Received: 3"),
    ],
)
def test_wrong_spaces_are_named(space, words):
    with pytest.raises(InputError, match=words) as caught:
        settings_of(space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n must be a whole number >= 1 and <= 1,000,000. Received: 0"),
        ({"n": 2.0}, "n must be a whole number >= 1 and <= 1,000,000. Received: 2.0"),
        ({"n": 10**9}, "n must be .* <= 1,000,000. Received: 1,000,000,000"),
        ({"n": True}, "n must be a whole number >= 1"),
        ({"n": 1, "method": "halton"}, "method must be one of sobol, random. Received: method='halton'"),
        ({"n": 1, "seed": -1}, "seed must be a whole number >= 0. Received: -1"),
    ],
)
def test_wrong_arguments_of_a_draw_are_named(arguments, words):
    with pytest.raises(InputError, match=re.compile(words)):
        draw({"learning_rate": "1e-5..1"}, **arguments)
    with pytest.raises(InputError, match="space must be a mapping"):
        draw([{"learning_rate": 0.1}], 3)  # type: ignore[arg-type]
