import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab.insight.budget import best_of


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
