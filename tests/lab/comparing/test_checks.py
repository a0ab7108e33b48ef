"""An optimizer that contains another does not lose to it, or was tuned too little, and a comparison says which."""

import keras
import numpy as np
import pytest
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.comparing import tuning
from adamkit.lab.comparing.checks import Check, adam_in_amsgrad, momentum_in_adam
from adamkit.lab.comparing.optimizers import Optimizer, named
from adamkit.lab.sweeping.spaces import Range
from tests.lab.some_models import LABELS, TABLE, compiled

SLOPE = TABLE.sum(axis=1, keepdims=True) / np.sqrt(6)
TASKS = {
    "a slope": (SLOPE, "mse", "linear"),
    "two classes": (LABELS[:, None], "binary_crossentropy", "sigmoid"),
}


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("task", TASKS)
def test_adam_does_not_lose_to_momentum_with_its_setting_and_loses_without_tuning(task, monkeypatch):
    y, loss, last = TASKS[task]
    model = compiled(
        lambda: keras.Sequential([keras.Input((6,)), layers.Dense(3, "tanh"), layers.Dense(1, last)]), {"loss": loss}
    )
    monkeypatch.setattr(tuning, "MOST_WIDENED", 0)  # so that tuning stays as bad as it is
    never = Optimizer(
        "adam", "Adam", named("adam").space | {"learning_rate": Range(1e-9, 1e-8)}, relative={"epsilon": 1}
    )
    given = [
        never if task == "a slope" else "adam",
        Optimizer("momentum", "SGD", {"learning_rate": Range(0.03, 0.1), "momentum": Range(0.5, 0.8)}),
    ]
    result = lab.compare(model, TABLE, y, optimizers=given, budget=4, epochs=8, batch_size=8, seeds=3, check=True)
    (check,) = result.checks
    start = result.described["start"]["test_loss"]
    # Momentum's setting in Adam's space does about what momentum does: not exactly, for bias correction and warm-up.
    gain, moved = start - np.mean(check.of_smaller), start - np.mean(check.moved)
    assert moved > 0.5 * gain > 0
    (sentence,) = (sentence for sentence in result.verdict if sentence.startswith("adam contains momentum"))
    assert ("tuning was at fault" in sentence) == (task == "a slope")


def test_the_verdict_of_a_check():
    setting = {"learning_rate": 0.1}
    near = [0.1, 0.11, 0.12]
    words = Check("momentum", "adam", setting, near, [0.2, 0.21, 0.22], near).in_words()
    assert words.startswith("adam contains momentum and loses to it, so that tuning was at fault")
    assert "does not lose" in Check("momentum", "adam", setting, near, near, near).in_words()
    assert "does not lose" in Check("momentum", "adam", setting, near, [0.01, 0.02, 0.03], near).in_words()
    better = Check("momentum", "adam", setting, [0.3, 0.31, 0.32], [0.2, 0.21, 0.22], near).in_words()
    assert better.startswith("adam does better with momentum's setting")
    accuracies = Check("momentum", "adam", setting, [0.9, 0.91, 0.92], [0.5, 0.51, 0.52], near)
    assert "tuning was at fault" in accuracies.in_words(is_large_good=True)
    diverged = Check("momentum", "adam", setting, near, [0.1, np.nan, 0.1], near)
    assert "tuning was at fault" in diverged.in_words()


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.98])
def test_adam_with_a_large_epsilon_steps_as_momentum_does(momentum):
    """Far behind the warm-up and the bias correction, on the same gradients."""
    setting = {"learning_rate": 0.01, "momentum": momentum}
    moved = momentum_in_adam(setting, {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8})
    assert moved.pop("warmup_steps") == round(1.5 / (1 - momentum))
    ours, theirs = Adam(**moved), keras.optimizers.SGD(**setting)
    values = [keras.Variable(np.zeros(3, np.float32)) for _ in range(2)]
    for optimizer, value in zip((ours, theirs), values, strict=True):
        optimizer.build([value])
    before = [None, None]
    for t in range(int(12 / (1 - momentum))):
        gradient = np.float32([np.sin(t / 5), 1.0, 0.1])
        before = [np.array(value) for value in values]
        ours.apply([gradient], [values[0]])
        theirs.apply([gradient], [values[1]])
    steps = [np.asarray(value) - was for value, was in zip(values, before, strict=True)]
    np.testing.assert_allclose(steps[0], steps[1], rtol=2e-3, atol=1e-6)


def test_adams_setting_is_amsgrads():
    setting = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8}
    assert adam_in_amsgrad(setting, setting) == setting
