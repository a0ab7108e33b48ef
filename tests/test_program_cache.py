"""The cache of compiled programs that the tests share changes no bit, and does what the tests rely on."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from adamkit.lab import train
from adamkit.lab.training.compiled_programs import Programs
from tests.lab.some_models import CASES, compiled

pytestmark = pytest.mark.optimized

FOLDER = Path(os.environ["ADAMKIT_CACHE"]) / "programs"


@pytest.fixture(scope="module")
def cache_events():
    """The events of JAX's cache, as they come."""
    names = []

    def note(name, **_):
        names.append(name.rpartition("/")[2])

    jax.monitoring.register_event_listener(note)
    yield names
    jax.monitoring.unregister_event_listener(note)


def trained():
    """(weights, history) of a model of its own: every program is compiled, or found, anew."""
    make, objective, x, y = CASES["subclassed"]
    jax.clear_caches()
    result = train(compiled(make, objective), x, y, epochs=2, batch_size=16)
    return [*result.model.get_weights(), *result.history.drop(columns="seconds").to_numpy().T]


@pytest.fixture(scope="module")
def first(cache_events):
    """In a cache that has none of it."""
    return trained()


@pytest.mark.slow
def test_a_program_from_the_cache_gives_the_bits_of_the_compiled_one(first, cache_events, monkeypatch):
    loaded, get = [], Programs.get
    monkeypatch.setattr(Programs, "get", lambda programs, key: loaded.append(get(programs, key)) or loaded[-1])
    cache_events.clear()
    again = trained()
    assert cache_events.count("cache_hits") > 0
    assert any(loaded)
    assert cache_events.count("cache_misses") == 0
    for own, other in zip(again, first, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.slow
def test_without_the_cache_it_is_compiled_and_gives_the_same_bits(first, cache_events, compiled_anew):
    cache_events.clear()
    again = trained()
    assert {"cache_hits", "cache_misses"}.isdisjoint(cache_events)
    for own, other in zip(again, first, strict=True):
        np.testing.assert_array_equal(own, other)


def test_another_program_is_none_of_those_in_the_cache():
    before = len(list(FOLDER.iterdir()))
    for number in (1.0, 2.0):
        assert jax.jit(lambda x, number=number: x * number + 0.7251)(3.0) == pytest.approx(3 * number + 0.7251)
    assert len(list(FOLDER.iterdir())) >= before + 2
