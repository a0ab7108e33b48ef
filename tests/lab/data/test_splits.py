"""Each row of a data set is in one part, and each class in each part, in its share."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.lab import data
from adamkit.lab.data import Dataset
from adamkit.lab.errors import InputError

shares = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.75])


def numbered(labels, target="classes"):
    """A data set whose only feature is the row's number."""
    rows = np.arange(len(labels), dtype=np.float32)
    names = None if target == "number" else tuple(map(str, range(int(max(labels)) + 1)))
    return Dataset("d", rows[:, None], np.asarray(labels), target, class_names=names)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=300),
    *(shares, shares),
    st.sampled_from(data.METHODS),
    st.sampled_from(["classes", "number"]),
    st.integers(0, 5),
)
def test_every_row_is_in_one_part_of_the_size_that_was_asked_for(labels, validation, test, method, target, seed):
    dataset = numbered(np.array(labels), target)
    sizes = [len(labels) - math.floor(len(labels) * (1 - share)) for share in (validation, test)]
    train = len(labels) - sum(sizes)
    if train < 1 or any(share and not size for share, size in zip((validation, test), sizes, strict=True)):
        with pytest.raises(InputError, match="each part needs one at least"):
            data.partition(dataset, validation, test, method=method, seed=seed)
        return
    parts = data.partition(dataset, validation, test, method=method, seed=seed)
    assert [0 if part is None else len(part) for part in parts] == [train, *sizes]
    assert (parts.validation is None, parts.test is None) == (validation == 0, test == 0)
    there = [part for part in parts if part is not None]
    rows = np.concatenate([part.x[:, 0] for part in there]).astype(int)
    assert sorted(rows) == list(range(len(labels)))
    for part in there:
        np.testing.assert_array_equal(part.y, dataset.y[part.x[:, 0].astype(int)])  # x and y stay together
        assert (np.diff(part.x[:, 0]) > 0).all()  # in the order of the data set
    if method != "random":
        assert rows.tolist() == list(range(len(labels)))
    again = data.partition(dataset, validation, test, method=method, seed=seed)
    for part, same in zip(parts, again, strict=True):
        assert part is same is None or np.array_equal(part.x, same.x)


@settings(deadline=None)
@given(st.lists(st.integers(1, 80), min_size=2, max_size=6), shares, shares, st.integers(0, 5))
def test_each_class_has_its_share_of_each_part_and_a_row_to_train_on(counts, validation, test, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = len(labels)
    if validation + test >= 1 or rows * (1 - validation - test) < len(counts) + 2:
        return
    parts = data.partition(numbered(labels), validation, test, seed=seed)
    for part in parts:
        if part is None:
            continue
        share = len(part) / rows
        for label, count in enumerate(counts):
            assert abs((part.y == label).sum() - count * share) < 2.5
    assert len(np.unique(parts.train.y)) == len(counts)


def test_another_seed_gives_other_rows():
    first, second = (data.partition(data.load("random"), 0.2, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.validation.x, second.validation.x)


def test_the_parts_of_sorted_rows_are_alike():
    """The last rows of a table that is sorted by class have one class alone; random ones do not."""
    dataset = numbered(np.repeat([0, 1, 2], 40))
    assert np.unique(data.partition(dataset, 0.25, method="last").validation.y).tolist() == [2]
    assert np.bincount(data.partition(dataset, 0.25).validation.y).tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 1.0}, "the validation split must be >= 0 and < 1. Received: 1"),
        ({"test": -0.5}, "the test split must be >= 0 and < 1. Received: -0.5"),
        ({"validation": 0.5, "test": 0.5}, "a validation split of 0.5 and a test split of 0.5 leave 0 of the 6 rows"),
        ({"test": 1e-20}, "leave 6 of the 6 rows of d to train on and 0 to test on"),
        (
            {"method": "lost"},
            "split must be one of random, last, shuffled. Received: split='lost'. Did you mean 'last'",
        ),
    ],
)
def test_parts_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        data.partition(numbered(np.arange(6)), **arguments)


def test_the_test_part_is_standardized_like_the_others():
    parts, mean, scale = data.standardize_parts(data.partition(data.load("wine"), 0.2, 0.2))
    raw = data.partition(data.load("wine"), 0.2, 0.2)
    for part, before in zip(parts, raw, strict=True):
        np.testing.assert_array_equal(part.x, data.apply(before.x, mean, scale))
    np.testing.assert_allclose(parts.train.x.mean(axis=0), 0, atol=1e-6)
