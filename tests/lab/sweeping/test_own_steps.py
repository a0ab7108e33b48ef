"""Sweeps of a model whose training step is the user's: what it reports can be the objective."""

import random

import keras
import numpy as np
import pytest
from keras import layers, ops

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping.learning_rate_range import learning_rate_range
from adamkit.lab.training.tracing import reported

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
OPTIONS = {"epochs": 6, "batch_size": 12, "shuffle": False}


class OwnFigure(keras.Model):
    """The step of Keras's guide for JAX, "customizing what happens in fit() at a low level": it reports one figure."""

    def __init__(self, **options):
        super().__init__(**options)
        self.out = layers.Dense(1)

    def call(self, x, training=False):
        return self.out(x)

    def own_loss(self, trainable, non_trainable, x, y):
        predicted, non_trainable = self.stateless_call(trainable, non_trainable, x, training=True)
        return ops.mean(ops.square(y - predicted)), non_trainable

    def train_step(self, state, data):
        import jax

        trainable, non_trainable, optimizer, metrics = state
        x, y, *_ = data
        gradient = jax.value_and_grad(self.own_loss, has_aux=True)
        (loss, non_trainable), gradients = gradient(trainable, non_trainable, x, y)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return {"my": loss}, (trainable, non_trainable, optimizer, metrics)


def made(optimizer=None):
    random.seed(0)  # Keras draws its seeds from here
    model = OwnFigure()
    model.compile(optimizer=optimizer or Adam(0.01), loss="mae")
    return model


@pytest.fixture(scope="module")
def swept():
    model = made()
    return model, lab.sweep(model, X, Y, space={"learning_rate": [0.01, 0.3, 1e20]}, objective="my", **OPTIONS)


def test_the_only_figure_that_a_step_reports_can_be_the_objective(swept):
    _, result = swept
    alone = made(Adam(0.3))
    history = alone.fit(X, Y, verbose=0, **OPTIONS).history
    assert list(history) == ["my"]
    assert list(result.history.columns) == ["setting", "seed", "learning_rate", "epoch", "my"]
    of_best = result.history.loc[result.history.setting == 1].my
    np.testing.assert_allclose(of_best, history["my"], rtol=1e-5)
    assert result.best().setting.tolist() == [1]
    assert result.best()["mean"].tolist() == [of_best.iloc[-1]]
    np.testing.assert_allclose(result.model(1).get_weights()[0], alone.get_weights()[0], rtol=1e-4)
    assert result.sensitivity().describe()


def test_patience_waits_for_it(swept):
    model, result = swept
    # It gets smaller with each epoch, so that none after the first is larger, which is what is waited for.
    stopped = lab.sweep(model, X, Y, space=result.settings, objective="-my", patience=2, **OPTIONS)
    assert stopped.summary.epochs.tolist()[:2] == [3, 3]


def test_what_no_step_reports_is_named_before_anything_is_trained(swept):
    model, result = swept
    for objective, received in ((None, "none, and no loss is reported"), ("loss", "'loss'")):
        with pytest.raises(InputError, match=f"objective must be one of my, or one with a minus. Received: {received}"):
            lab.sweep(model, X, Y, space=result.settings, objective=objective, **OPTIONS)
    assert reported(model, (X, Y, None), test=True) == ["loss"]  # of the step of `evaluate`, which is Keras's
    with pytest.raises(InputError, match=r"training step must report a loss.*my"):
        learning_rate_range(model, X, Y)


class Fails(OwnFigure):
    def own_loss(self, trainable, non_trainable, x, y):
        return float(ops.mean(x)), non_trainable


def test_a_step_that_cannot_be_traced_is_said_to_be_so():
    model = Fails()
    model.compile(Adam(), "mse")
    with pytest.raises(InputError, match="cannot be trained as a population: it takes a training step that JAX"):
        lab.sweep(model, X, Y, space={"learning_rate": [0.1]}, **OPTIONS)
