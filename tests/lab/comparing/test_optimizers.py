"""The declared spaces, names and switches of optimizers, and when a space is widened."""

import doctest

import keras
import numpy as np
import pytest

from adamkit.keras import Adam
from adamkit.lab.comparing import optimizers
from adamkit.lab.comparing.optimizers import DECADES, OPTIMIZERS, Optimizer, checked, named
from adamkit.lab.comparing.search import borders, widened
from adamkit.lab.errors import InputError
from adamkit.lab.hyperparameters import HYPERPARAMETERS, names
from adamkit.lab.runs import Settings
from adamkit.lab.sweeping.spaces import Range


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_space_is_one_that_the_optimizer_has(name):
    optimizer = OPTIMIZERS[name]
    made = optimizer.make()
    assert isinstance(made, Adam if optimizer.kind == "Adam" else getattr(keras.optimizers, optimizer.kind))
    config = made.get_config()
    places, settings = optimizer.draw(16, seed=0)
    assert len(places) == len(settings) == 16
    for place, setting in zip(places, settings, strict=True):
        assert set(setting) <= set(config)
        for hyperparameter, limits in optimizer.space.items():
            assert limits.low <= place[hyperparameter] <= limits.high
            HYPERPARAMETERS[hyperparameter].check(setting[hyperparameter])
    if optimizer.fixed.get("learning_rate") != "auto":
        rates = optimizer.space["learning_rate"]
        assert rates.high / rates.low == pytest.approx(10**DECADES)
    assert optimizer.why


def test_the_ratio_of_learning_rate_and_epsilon_does_not_depend_on_the_learning_rate():
    for name, power in (("adam", 1), ("rmsprop", 2)):
        places, settings = OPTIMIZERS[name].draw(64, seed=1)
        factor = [setting["epsilon"] ** (1 / power) / setting["learning_rate"] for setting in settings]
        np.testing.assert_allclose(factor, [place["epsilon"] for place in places], rtol=1e-6)


def test_draws_are_the_same_for_the_same_seed_and_space():
    assert named("adam").draw(8, 3) == named("amsgrad").draw(8, 3)
    assert named("adam").draw(8, 3) != named("adam").draw(8, 4)


def test_switches_make_another_optimizer():
    ema = named("sgd+ema")
    assert ema.make().use_ema
    assert "ema_momentum" in ema.space
    both = named("adam+cosine+weight-decay")
    assert both.name == "adam+cosine+weight-decay"
    assert both.cosine
    assert "weight_decay" in both.space
    assert both.draw(1, 0)[1][0]["cosine_alpha"] == 0


def test_any_class_of_keras_has_a_space_around_its_defaults():
    adafactor = named("Adafactor")
    assert adafactor.name == "adafactor"
    middle = np.sqrt(adafactor.space["learning_rate"].low * adafactor.space["learning_rate"].high)
    assert middle == pytest.approx(0.001)
    assert isinstance(adafactor.make(), keras.optimizers.Adafactor)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("auto+cosine", "auto takes no cosine: it finds its learning rates itself"),
        ("schedule-free+ema", "schedule-free takes no ema: its average stands in for it"),
        ("nadm", r"optimizers must be of adam, .* Received: 'nadm'. Did you mean 'nadam'\?"),
        ("Adagrda", r"Did you mean 'adagrad'\?"),
        ("adam+emma", "a switch .* must be one of cosine, ema, weight-decay. Received: 'emma' .*Did you mean 'ema'?"),
        ("", "optimizers must be at least one of"),
        ("adam,adam", "names of their own each. Received: adam, adam"),
        ([Optimizer("mine", "SGD", {"momentum": Range(0.5, 0.9)})], "must have a learning_rate. Received: mine"),
        ([Optimizer("mine", "SGD", {"learning_rate": Range(1, 0.1)})], "must go from a smaller to a larger"),
    ],
)
def test_bad_optimizers_are_named(given, message):
    with pytest.raises(InputError, match=message):
        checked(given)


def test_other_optimizers_hyperparameters_are_not_those_of_a_run():
    assert {"momentum", "rho", "nesterov"} <= set(names(of="other"))
    assert not hasattr(Settings(), "momentum")


SPACE = {"learning_rate": Range(1e-3, 1.0), "momentum": Range(0.5, 0.99)}


@pytest.mark.parametrize(
    ("best", "expected"), [(1e-3, {"learning_rate": "low"}), (0.9, {"learning_rate": "high"}), (0.03, {})]
)
def test_the_best_learning_rate_on_the_border_is_seen(best, expected):
    rates = np.geomspace(1e-3, 1, 16)
    places = [{"learning_rate": rate, "momentum": m} for rate, m in zip(rates, np.tile([0.6, 0.9], 8), strict=True)]
    values = np.abs(np.log(rates / best))
    assert borders(SPACE, places, values) == expected
    values[:3] = np.nan  # a diverged setting is no best one
    assert borders(SPACE, places, values) == ({} if best == 1e-3 else expected)


def test_another_hyperparameter_lies_on_the_border_if_the_three_best_do():
    rates, momenta = (0.03, 0.002, 0.5, 0.01, 0.1, 0.05), (0.985, 0.987, 0.98, 0.6, 0.7, 0.8)
    places = [{"learning_rate": rate, "momentum": m} for rate, m in zip(rates, momenta, strict=True)]
    values = np.arange(6.0)
    assert borders(SPACE, places, values) == {"momentum": "high"}
    assert borders(SPACE, places, values[::-1]) == {}
    assert borders(SPACE, places, np.full(6, np.nan)) == {}


def test_a_space_is_widened_at_the_end_that_is_named_alone():
    optimizer = Optimizer("mine", "SGD", SPACE)
    wider = widened(optimizer, {"learning_rate": "high", "momentum": "high"}).space
    assert wider["learning_rate"] == Range(1e-3, 10.0)
    assert wider["momentum"].low == 0.5
    assert 1 - wider["momentum"].high == pytest.approx(0.01 / 10**0.5)
    lower = widened(optimizer, {"learning_rate": "low"}).space
    assert lower == SPACE | {"learning_rate": Range(1e-4, 1.0)}


def test_a_border_that_cannot_be_moved_is_none():
    space = {"learning_rate": Range(1e-3, 1.0), "momentum": Range(0.0, 0.9)}
    rates, momenta = (0.03, 0.002, 0.5, 0.1), (0.0, 0.01, 0.02, 0.5)
    places = [{"learning_rate": rate, "momentum": m} for rate, m in zip(rates, momenta, strict=True)]
    assert borders(space, places, np.arange(4.0)) == {}


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(optimizers).failed == 0
