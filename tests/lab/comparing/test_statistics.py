"""The figures of a comparison against brute force over all subsets."""

import doctest
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.lab.comparing import search, statistics
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.comparing.statistics import (
    at_training_loss,
    band,
    chance_of_winning,
    first_epoch_at,
    resampled_best,
    resampled_means,
)
from adamkit.lab.insight import budget

values = st.lists(st.floats(-10, 10), min_size=1, max_size=7)


@given(values, values, st.data())
def test_the_chance_of_winning_is_the_share_of_all_pairs_of_subsets(ours, theirs, data):
    k = data.draw(st.integers(1, min(len(ours), len(theirs))))

    def best(reached):
        return [reached[min(subset)] for subset in itertools.combinations(range(len(reached)), k)]

    pairs = list(itertools.product(best(ours), best(theirs)))
    by_hand = np.mean([(a < b) + 0.5 * (a == b) for a, b in pairs])
    a, b = np.array(ours)[:, None], np.array(theirs)[:, None]
    np.testing.assert_allclose(chance_of_winning(a, b, k), by_hand, rtol=1e-9)
    np.testing.assert_allclose(chance_of_winning(b, a, k), 1 - by_hand, atol=1e-9)


def test_runs_of_one_seed_are_compared_with_each_other():
    ours, theirs = np.array([[1.0, 5.0]]), np.array([[2.0, 6.0]])
    assert chance_of_winning(ours, theirs, 1) == 1.0  # though 5 > 2


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**31))
def test_resamples_lie_within_what_was_reached_and_are_it_without_luck(n, seeds, seed):
    generator = np.random.default_rng(seed)
    reached = generator.random((n, seeds))
    found = resampled_best(reached, reached, min(2, n), [1, n], 50, seed)
    assert (found >= reached.min() - 1e-12).all()
    assert (found <= reached.max() + 1e-12).all()
    same = np.full((n, seeds), 0.25)
    np.testing.assert_allclose(resampled_best(same, same, 1, [1, n], 20, seed), 0.25)


def test_a_repeated_setting_is_chosen_by_the_seeds_that_were_drawn():
    validated = np.array([[0.0, 10.0], [4.0, 4.0]])  # the first is the better one with the first seed alone
    reached = np.array([[1.0, 1.0], [2.0, 2.0]])
    found = resampled_best(reached, validated, 2, [2], 400, 0)[:, 0]
    assert set(found.round(6)) <= {1.0, 2.0}
    assert 0.1 < np.mean(found == 1.0) < 0.9


def test_bands_of_means_shrink_with_the_root_of_the_seeds():
    generator = np.random.default_rng(0)
    widths = []
    for n in (10, 1000):
        low, high = band(resampled_means(generator.normal(size=n), 2000, 0))
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.5)


def test_the_first_epoch_at_a_goal():
    curves = np.array([[3.0, 2.0, 1.0], [3.0, 3.0, 3.0], [0.5, 4.0, 4.0]])
    np.testing.assert_array_equal(first_epoch_at(curves, 2.0), [2, np.inf, 1])


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6, unique=True), st.floats(0, 1))
def test_held_out_loss_at_equal_training_loss_lies_between_its_neighbours(losses, share):
    training = np.array(sorted(losses, reverse=True))
    held_out = 2 * training + 1  # linear in it, so that interpolation is exact
    level = training[-1] + share * (training[0] - training[-1])
    np.testing.assert_allclose(at_training_loss(training, held_out, level), 2 * level + 1, rtol=1e-9)
    assert np.isnan(at_training_loss(training, held_out, training[-1] / 2))


@pytest.mark.parametrize("module", [budget, statistics, search])
def test_the_examples_in_the_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_a_comparison_that_was_cut_off_before_anything_was_done_is_kept_and_says_so(tmp_path):
    described = {
        "objective": "val_loss", "budget": 4, "seeds": 1, "epochs": 1, "batch_size": 1, "seed": 0, "goal": None,
        "rows": [1, 1, 1], "start": {}, "failures": {}, "interrupted": True, "seconds": 1.0, "checks": [],
    }  # fmt: skip
    Comparison.of([], described).save(tmp_path)
    loaded = Comparison.load(tmp_path)
    assert loaded.optimizers == []
    assert loaded.verdict == ["The comparison was interrupted: optimizers that were not finished are not in it."]
