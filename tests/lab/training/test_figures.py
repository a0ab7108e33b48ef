import keras
import numpy as np
import pytest

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.training.figures import figures

pytestmark = pytest.mark.slow  # seconds, all in all

X = np.random.default_rng(0).random((24, 3)).astype("float32")
Y = np.eye(2, dtype="float32")[(X.sum(axis=1) > 1.5).astype(int)]
WORD = "left out of the history, as they are no numbers: word"


class Reporting(keras.Model):
    """Reports more than its loss: a dictionary with a number, an array and a word."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2, activation="softmax")

    def call(self, x):
        return self.layer(x)

    def train_step(self, state, data):
        logs, state = super().train_step(state, data)
        return {
            **logs,
            "extra": {"twice": 2 * logs["loss"], "pair": keras.ops.stack([logs["loss"], 1.0])},
            "word": "w",
        }, state


def reporting():
    keras.utils.set_random_seed(0)
    model = Reporting()
    model.compile(optimizer=Adam(0.01), loss="categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    model(X[:1])
    return model


def test_each_number_has_a_name():
    logs = {"loss": 1.0, "a": {"loss": 2, "b": np.float32(3)}, "pair": np.array([[4.0, 5.0]])}
    assert {name: float(value) for name, value in figures(logs).items()} == {
        "loss": 1, "a_loss": 2, "b": 3, "pair_0_0": 4, "pair_0_1": 5,
    }  # fmt: skip


@pytest.mark.parametrize("value", ["word", None, np.array("word"), object(), np.zeros(101)], ids=type)
def test_what_is_no_number_is_left_out_and_named(value):
    with pytest.warns(RuntimeWarning, match="no numbers: odd"):
        assert figures({"loss": 1.0, "odd": value}).keys() == {"loss"}


def test_a_step_that_reports_a_dictionary_trains():
    with pytest.warns(RuntimeWarning, match=WORD):
        history = lab.train(reporting(), X, Y, epochs=2, batch_size=8, validation_data=(X, Y)).history
    assert list(history.columns) == [
        "epoch", "loss", "f1_score_0", "f1_score_1", "pair_0", "pair_1", "twice",
        "val_loss", "val_f1_score_0", "val_f1_score_1", "seconds",
    ]  # fmt: skip
    np.testing.assert_allclose(history["twice"], 2 * history["pair_0"], rtol=1e-6)
    assert (history["pair_1"] == 1).all()


def test_a_step_that_reports_a_dictionary_is_swept():
    space = {"learning_rate": [0.01, 0.1]}
    with pytest.warns(RuntimeWarning, match=WORD):
        result = lab.sweep(reporting(), X, Y, space=space, epochs=2, batch_size=8)
    assert {"loss", "f1_score_0", "f1_score_1", "pair_0", "pair_1", "twice"} <= set(result.history.columns)
    assert len(result.best(2)) == 2
