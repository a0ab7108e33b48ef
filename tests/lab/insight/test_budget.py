import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab.insight.budget import best_of, budgets, chances_of_being_best, expected_best


@given(st.lists(st.integers(0, 9) | st.just(math.inf), min_size=1, max_size=8), st.data())
def test_quantiles_are_those_of_all_draws(values, data):
    k = data.draw(st.integers(1, len(values)))
    draws = sorted(min(draw) for draw in itertools.combinations(values, k))
    for share in (0.1, 0.5, 0.9):
        (found,) = best_of(values, k, [share])
        assert found == draws[math.ceil(share * len(draws) - 1e-9) - 1]


def test_more_draws_are_never_worse():
    values = np.random.default_rng(0).normal(size=300)
    medians = [best_of(values, k, [0.5])[0] for k in range(1, 301)]
    assert (np.diff(medians) <= 0).all()
    assert medians[-1] == values.min()
    assert best_of([math.nan, 1.0], 1, [0.9])[0] == math.inf
    assert best_of(values, 1, [0.5])[0] == pytest.approx(np.median(values), abs=0.05)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=7), st.data())
def test_the_expected_best_is_the_mean_over_all_subsets(reached, data):
    k = data.draw(st.integers(1, len(reached)))
    by_hand = np.mean([reached[min(subset)] for subset in itertools.combinations(range(len(reached)), k)])
    np.testing.assert_allclose(expected_best(np.array(reached), [k]), [by_hand], rtol=1e-9, atol=1e-9)


@given(st.integers(1, 60), st.data())
def test_one_setting_is_the_best(n, data):
    k = data.draw(st.integers(1, n))
    chances = chances_of_being_best(n, k)
    np.testing.assert_allclose(chances.sum(), 1)
    assert (np.diff(chances) <= 1e-12).all()
    assert budgets(n)[0] == 1
    assert budgets(n)[-1] == n
