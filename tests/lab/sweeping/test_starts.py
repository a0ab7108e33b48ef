"""Around the training of a sweep: what each run starts with, and what the model of a run is, beside `fit`."""

import random

import keras
import numpy as np
import pytest
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping import remaking
from adamkit.lab.training.tracing import left_alone

pytestmark = pytest.mark.slow  # seconds, all in all

RNG = np.random.default_rng(0)
X = RNG.normal(50, 20, (40, 6)).astype("float32")  # unscaled: without its mean and variance a model is far off
Y = np.sin(X.sum(axis=1, keepdims=True) / 50).astype("float32")
OPTIONS = {"epochs": 2, "batch_size": 20, "shuffle": False}  # equal batches: one program


def seeded(seed):
    """As `keras.utils.set_random_seed`, which imports TensorFlow."""
    random.seed(seed)
    np.random.seed(seed)


def whole(optimizer=None):
    """A model whose state is draws, what a layer has adapted to, frozen weights and moving averages."""
    seeded(1)
    adapted, frozen = layers.Normalization(name="adapted"), layers.Dense(4, "tanh", name="frozen")
    adapted.adapt(X)
    model = keras.Sequential([keras.Input((6,)), adapted, frozen, layers.BatchNormalization(), layers.Dense(1)])
    frozen.set_weights([np.full(weights.shape, 0.25) for weights in frozen.get_weights()])
    frozen.trainable = False
    model.compile(optimizer or Adam(0.01, epsilon_hat=True), "mse")
    return model


def plain(optimizer):
    seeded(1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def fit(model, **options):
    return model.fit(X, Y, verbose=0, **OPTIONS | options).history["loss"]


def losses(result, setting=0, seed=0):
    history = result.history
    return history.loc[(history.setting == setting) & (history.seed == seed)].loss.to_numpy()


def assign(model, start):
    for group, values in zip((model.trainable_variables, model.non_trainable_variables), start, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)


@pytest.fixture(scope="module")
def of_two_seeds():
    model = whole()
    return model, lab.sweep(model, X, Y, space={"learning_rate": [0.1, 0.01]}, seeds=2, **OPTIONS)


def test_a_step_leaves_alone_what_is_no_draw(of_two_seeds):
    model, _ = of_two_seeds
    kept = left_alone(model, (X[:20], Y[:20], None))
    names = ["/".join(variable.path.split("/")[-2:]) for variable in model.non_trainable_variables]
    assert {name for name, keep in zip(names, kept, strict=True) if keep} == {
        "adapted/mean", "adapted/variance", "adapted/count", "frozen/kernel", "frozen/bias",
    }  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_every_seed_keeps_what_is_adapted_and_frozen_and_its_model_is_that_of_fit(of_two_seeds, seed):
    model, result = of_two_seeds
    alone = whole()
    if seed:
        assign(alone, remaking.drawn_start(model, left_alone(model, (X[:20], Y[:20], None)), [0, seed]))
    np.testing.assert_allclose(losses(result, 1, seed), fit(alone), rtol=1e-4)
    trained = result.model(1, seed)
    np.testing.assert_allclose(trained.predict(X, verbose=0), alone.predict(X, verbose=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(trained.evaluate(X, Y, verbose=0), alone.evaluate(X, Y, verbose=0), rtol=1e-4)
    for name in ("adapted", "frozen"):
        for own, given in zip(trained.get_layer(name).get_weights(), model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, given)
    if seed:
        assert abs(losses(result, 1, 0)[0] - losses(result, 1, 1)[0]) > 1e-3


def test_what_is_adapted_is_kept_where_the_layer_holds_more_than_variables():
    edges = layers.Discretization(num_bins=4, output_mode="one_hot")
    edges.adapt(X[:, 0])
    model = keras.Sequential([keras.Input((1,)), edges, layers.Dense(1)])
    again = remaking.remade(model)
    np.testing.assert_array_equal(again.predict(X[:, :1], verbose=0), model.predict(X[:, :1], verbose=0))


class Frozen(keras.Model):
    """It makes its layers itself, so that its configuration does not say that one is frozen."""

    def __init__(self, **options):
        super().__init__(**options)
        self.hidden, self.out = layers.Dense(3, "tanh"), layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))


def test_a_layer_that_was_frozen_afterwards_is_frozen_in_the_model_that_is_made_again():
    model = Frozen()
    model(X[:1])
    model.hidden.trainable = False
    again = remaking.remade(model)
    assert [tuple(variable.shape) for variable in again.trainable_variables] == [(3, 1), (1,)]
    np.testing.assert_array_equal(again(X), model(X))


@pytest.mark.parametrize("own", [1, 2])
def test_no_start_is_one_that_the_users_seed_gives(own):
    seeded(own)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    drawn = [model.get_weights()[0]]
    drawn += [remaking.drawn_start(model, [], [seed, k])[0][0] for seed in (0, 1) for k in (1, 2)]
    for number in (1, 2, 3):  # what earlier versions took
        seeded(number)
        drawn += [keras.Sequential([keras.Input((6,)), layers.Dense(4)]).get_weights()[0]] * (number != own)
    assert len({weights.tobytes() for weights in drawn}) == len(drawn)


def test_seeds_after_a_seed_of_the_users_are_different_runs():
    model = plain(Adam(0.01))
    for same_start in (True, False):
        twins = [{"learning_rate": 0.01}] * 2
        result = lab.sweep(model, X, Y, space=twins, seeds=3, same_start=same_start, **OPTIONS)
        starts = result.history.loc[result.history.epoch == 1].loss
        assert starts.nunique() == (3 if same_start else 6)


def decaying(model, amsgrad):
    """The model with an optimizer that leaves all but the first kernel as large as they are."""
    model.compile(Adam(0.01, amsgrad=amsgrad, weight_decay=0.5), "mse")
    model.optimizer.exclude_from_weight_decay(var_list=[model.trainable_variables[2]], var_names=["bias"])
    return model


def test_what_is_excluded_from_weight_decay_is_so_for_every_setting_and_its_model():
    result = lab.sweep(decaying(plain("adam"), False), X, Y, space={"amsgrad": [False, True]}, **OPTIONS)
    trained = result.model(1)
    for setting, amsgrad in enumerate((False, True)):
        alone = decaying(plain("adam"), amsgrad)
        np.testing.assert_allclose(losses(result, setting), fit(alone), rtol=1e-5)
    np.testing.assert_allclose(fit(trained), fit(decaying(alone, True)), rtol=1e-5)
    assert losses(result, 1)[-1] != pytest.approx(fit(plain(Adam(0.01, amsgrad=True, weight_decay=0.5)))[-1], rel=1e-4)


def rate():
    return 0.02


def test_an_optimizer_made_again_keeps_a_learning_rate_that_is_a_function():
    model = plain(Adam(rate))
    result = lab.sweep(model, X, Y, space={"amsgrad": [True]}, **OPTIONS)
    np.testing.assert_allclose(losses(result), fit(plain(Adam(rate, amsgrad=True))), rtol=1e-5)
    assert float(result.model(0).optimizer.learning_rate) == pytest.approx(0.02)


class Named(Adam):
    """It cannot be made again: its configuration lacks an argument."""

    def __init__(self, title, **others):
        super().__init__(**others)


def test_an_optimizer_that_cannot_be_made_again_is_named():
    with pytest.raises(InputError, match=r"optimizer must be one that from_config makes again.*Named.*title"):
        lab.sweep(plain(Named("mine")), X, Y, space={"amsgrad": [True]}, **OPTIONS)


# Weights of classes and rows.


def test_weights_of_classes_and_rows_count_as_in_fit():
    signs = (Y > 0).astype("float32")
    by_class = {0: 0.5, 1: 3.0}
    options = OPTIONS | {"validation_split": 0.5, "batch_size": 10}

    def made():
        model = plain(Adam(0.01))
        model.compile(model.optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
        return model

    space = {"learning_rate": [0.01, 0.1]}
    swept = made()
    rows = np.linspace(0, 2, 40, dtype="float32")
    for weights in ({"class_weight": by_class}, {"sample_weight": rows}):
        history = lab.sweep(swept, X, signs, space=space, **options, **weights).history
        theirs = made().fit(X, signs, verbose=0, **options, **weights).history
        own = history.loc[history.setting == 0]
        # Rows that are split off are weighed by their own weights, but not by those of their classes.
        for column in ("loss", "val_loss"):
            np.testing.assert_allclose(own[column], theirs[column], rtol=1e-5)
    with pytest.raises(ValueError, match="class_weight and sample_weight cannot both be given"):
        lab.sweep(swept, X, signs, space=space, class_weight=by_class, sample_weight=rows, **options)


# A model that is trained already.


def trained_before(optimizer):
    model = plain(optimizer)
    fit(model)
    return model


def test_a_trained_model_goes_on_and_other_seeds_begin_anew():
    model = trained_before(Adam(0.01, use_ema=False))
    result = lab.sweep(model, X, Y, space={"learning_rate": [0.01, 0.1]}, seeds=2, **OPTIONS)
    anew = plain(Adam(0.01))
    assign(anew, remaking.drawn_start(anew, [], [0, 1]))
    np.testing.assert_allclose(losses(result, 0, 1), fit(anew), rtol=1e-5)
    np.testing.assert_allclose(losses(result, 0, 0), fit(model), rtol=1e-5)


def test_settings_of_a_trained_model_begin_alike():
    model = trained_before(Adam(0.01))
    result = lab.sweep(model, X, Y, space={"amsgrad": [False, True]}, **OPTIONS)
    flipped = trained_before(Adam(0.01))
    before = flipped.optimizer
    flipped.compile(Adam(0.01, amsgrad=True), "mse")
    flipped.optimizer.build(flipped.trainable_variables)
    for own, other in zip(flipped.optimizer.variables, before.variables, strict=False):  # the largest moments come last
        own.assign(other)
    np.testing.assert_allclose(losses(result, 1), fit(flipped), rtol=1e-5)
    np.testing.assert_allclose(losses(result, 0), fit(model), rtol=1e-5)


def test_a_schedule_is_that_of_the_sweep_however_long_the_model_was_trained():
    """`fit` with a schedule that begins as many steps later."""
    total, before = 4, 4
    model = trained_before(Adam(0.05))
    result = lab.sweep(model, X, Y, space={"learning_rate": [0.05], "cosine_alpha": [0.1]}, seeds=2, **OPTIONS)

    class Later(keras.optimizers.schedules.CosineDecay):
        def __call__(self, step):
            return super().__call__(step - before)

    theirs = plain(Adam(Later(0.05, total, alpha=0.1)))
    theirs.set_weights(model.get_weights())
    theirs.optimizer.build(theirs.trainable_variables)
    own = [variable for variable in model.optimizer.variables if "learning_rate" not in variable.path]
    for variable, value in zip(theirs.optimizer.variables, own, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(losses(result, 0, 0), fit(theirs), rtol=1e-5)
    anew = plain(Adam(keras.optimizers.schedules.CosineDecay(0.05, total, alpha=0.1)))
    assign(anew, remaking.drawn_start(anew, [], [0, 1]))
    np.testing.assert_allclose(losses(result, 0, 1), fit(anew), rtol=1e-5)
