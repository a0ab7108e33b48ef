"""`adamkit check`: what goes wrong in a run, and in a model that trains a little, which stays as it is."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from adamkit import lab
from adamkit.keras import Adam, Watch
from tests.cli.test_train import small_table

pytestmark = pytest.mark.slow  # seconds, all in all


def test_a_run_whose_rate_is_too_small_and_whose_memory_is_too_long(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = ("--data", *small_table(), "--model", "mlp", "--batch-size", 10)
    assert command_line("train", *table, "--epochs", 5, "--learning-rate", 1e-9, "--out", "run", "--no-report")[0] == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    code, out, err = command_line("check", "run", "--json")
    assert (code, err) == (1, "")
    found = {finding["kind"]: finding for finding in map(json.loads, out.splitlines())}
    assert found.keys() == {"small-steps", "long-memory", "plateau"}
    assert found["small-steps"]["where"].endswith("kernel")
    assert 0 < found["small-steps"]["figure"] < 1e-5
    assert found["long-memory"]["figure"] == pytest.approx(1000)
    code, out, _ = command_line("check", "run")
    assert "small-steps" in out
    assert "Try ten times the learning rate" in out
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def network(bias):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    hidden = layers.Dense(8, "relu", bias_initializer=keras.initializers.Constant(bias), name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(1)])
    model.compile(Adam(0.02, beta_2=0.9), "mse")
    return model


def test_a_model_is_checked_and_stays_as_it_is():
    x = np.random.default_rng(0).random((64, 4), "float32")
    y = x @ np.array([1, -1, 0.5, 0], "float32")
    model = network(np.array([-9.0] * 5 + [0.1] * 3))
    before = [weights.copy() for weights in model.get_weights()]
    found = lab.check(model, x, y, epochs=4, batch_size=16)
    assert [(one.kind, one.where.split("/")[-2:]) for one in found if one.kind == "dead-units"] == [
        ("dead-units", ["hidden", "kernel"])
    ]
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert int(model.optimizer.iterations) == 0
    with pytest.warns(RuntimeWarning, match="units before a ReLU have no gradient"):
        model.fit(x, y, epochs=2, batch_size=16, verbose=0, callbacks=[Watch()])


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"every must be a whole number >= 1. Received: every=0"):
        Watch(every=0)
    model = network(0.1)
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="Received: an optimizer of class SGD"):
        model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0, callbacks=[Watch()])
