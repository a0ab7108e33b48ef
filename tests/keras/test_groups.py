"""Learning rates and weight decay by patterns on the variables' paths."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from adamkit import lab
from adamkit.keras import Adam, without_decay
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow  # seconds, all in all

GRADIENTS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
HALVING = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)
X = np.random.default_rng(1).normal(size=(32, 3)).astype("float32")


def stepped(optimizer, names=("weight", "bias"), dtype="float32"):
    """Variables of these names after some steps, all with the same gradients."""
    variables = [keras.Variable(np.ones(3), dtype=dtype, name=name) for name in names]
    for gradient in GRADIENTS:
        optimizer.apply([ops.convert_to_tensor(gradient)] * len(names), variables)
    return [as_numpy(ops.cast(variable, "float32")) for variable in variables]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("own", "alone"),
    [
        ({"learning_rate": 0.25}, {"learning_rate": 0.25, "weight_decay": 0.5}),
        ({"learning_rate": HALVING, "weight_decay": 0.125}, {"learning_rate": HALVING, "weight_decay": 0.125}),
        ({"learning_rate_multiplier": 4.0}, {"learning_rate": 0.25, "weight_decay": 0.5}),
        ({"weight_decay": 0.0}, {"learning_rate": 0.0625}),
        ({"learning_rate_multiplier": 0.0}, {"learning_rate": 0.0, "weight_decay": 0.5}),
    ],
    ids=["value", "schedule", "multiplier", "decay", "frozen"],
)
def test_a_variable_steps_as_by_an_optimizer_of_its_settings(own, alone, dtype):
    options = {"learning_rate": 0.0625, "weight_decay": 0.5}
    weight, bias = stepped(Adam(**options, groups={"bi*": own}), dtype=dtype)
    np.testing.assert_array_equal(weight, stepped(Adam(**options), ["weight"], dtype)[0])
    np.testing.assert_allclose(bias, stepped(Adam(**alone), ["bias"], dtype)[0], rtol=1e-6)


def test_a_multiplier_follows_the_optimizer_and_its_schedule():
    expected = stepped(Adam(HALVING))
    half = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=1, decay_rate=0.5)
    both = stepped(Adam(half, groups={"*": {"learning_rate_multiplier": 0.5}}))
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    optimizer = Adam(10.0, groups={"*": {"learning_rate_multiplier": 0.5}})
    optimizer.learning_rate = 0.5
    np.testing.assert_allclose(stepped(optimizer), stepped(Adam(0.25)), rtol=1e-6)


def test_the_last_pattern_that_matches_decides_each_part():
    groups = {
        "*": {"learning_rate": 0.5, "weight_decay": 0.25},
        "bias": {"learning_rate_multiplier": 2.0},
        "b*": {"weight_decay": 0.0},
    }
    weight, bias = stepped(Adam(0.0625, groups=groups))
    np.testing.assert_allclose(weight, stepped(Adam(0.5, weight_decay=0.25), ["weight"])[0], rtol=1e-6)
    np.testing.assert_allclose(bias, stepped(Adam(0.125), ["bias"])[0], rtol=1e-6)


def network(optimizer):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(4, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((3,)), hidden, layers.Dense(1, name="head")], name="net")
    model.compile(optimizer, loss="mse")
    return model


def trained(model, how):
    options = {"epochs": 2, "batch_size": 8, "shuffle": False}
    if how == "lab":
        lab.train(model, X, X[:, :1], **options)
    else:
        model.fit(X, X[:, :1], verbose=0, **options)
    return [as_numpy(variable) for variable in model.trainable_variables]


@pytest.mark.slow
def test_layers_train_by_their_own_settings_where_steps_are_compiled_and_after_loading(tmp_path):
    groups = {
        "hidden/*": {"learning_rate": 0.0, "weight_decay": 0.0},
        "net/head/bias": {"learning_rate": HALVING},
    }
    model, of_lab = (network(Adam(0.01, weight_decay=0.1, groups=groups)) for _ in range(2))
    hidden = [as_numpy(variable) for variable in model.trainable_variables[:2]]
    found = trained(model, "fit")
    for one, other in zip(found[:2], hidden, strict=True):
        np.testing.assert_array_equal(one, other)
    steps = np.sum([HALVING(step) for step in range(8)])
    assert np.abs(found[3]).item() < steps  # 0.2; of a constant 0.1 it would be 0.8
    for one, other in zip(found, trained(of_lab, "lab"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert not any(variable.path.startswith("net") for variable in again.trainable_variables)
    for one, other in zip(trained(again, "fit"), trained(model, "fit"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_decay_is_left_off_biases_normalization_and_embeddings():
    inputs = keras.Input((5,))
    x = layers.Embedding(7, 4, name="tokens")(inputs)
    x = layers.LayerNormalization(axis=[1, 2], name="norm")(x)
    x = layers.EinsumDense("abc,cde->abde", (None, 2, 2), bias_axes="de", name="attend")(x)
    x = layers.Reshape((5, 4))(x)
    x = layers.SpectralNormalization(layers.Dense(2, name="inner"), name="spectral")(x)
    model = keras.Model(inputs, layers.GRU(2, name="gru")(x))
    kept = without_decay(model)
    assert all(settings == {"weight_decay": 0.0} for settings in kept.values())
    assert sorted(kept) == sorted(
        ["tokens/embeddings", "norm/gamma", "norm/beta", "attend/bias", "spectral/inner/bias", "gru/gru_cell/bias"]
    )
    with pytest.raises(ValueError, match="model must be built"):
        without_decay(keras.Sequential([layers.Dense(1)]))


@pytest.mark.parametrize(
    ("groups", "error", "says"),
    [
        ([("a", {})], TypeError, r"groups must be a dict from patterns .* of type list"),
        ({1: {"weight_decay": 0.0}}, TypeError, "a pattern must be a string. Received: 1"),
        ({"a": 0.1}, TypeError, r"groups\['a'\] must be a dict of learning_rate, learning_rate_multiplier, weight_dec"),
        ({"a": {}}, ValueError, r"groups\['a'\] must have some of"),
        ({"a": {"lr": 0.1}}, ValueError, r"and nothing else. Received: {'lr': 0.1}"),
        ({"a": {"learning_rate": -1.0}}, ValueError, r"groups\['a'\]\['learning_rate'\] must be a finite number >= 0"),
        ({"a": {"weight_decay": HALVING}}, TypeError, r"groups\['a'\]\['weight_decay'\] must be a finite number"),
        ({"a": {"learning_rate": 0.1, "learning_rate_multiplier": 2.0}}, ValueError, "not both"),
    ],
)
def test_wrong_groups_are_named(groups, error, says):
    with pytest.raises(error, match=says):
        Adam(groups=groups)


def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest_path():
    with pytest.raises(ValueError, match=r"matches 'hiden/\*'. The nearest is 'hidden/bias'"):
        Adam(groups={"hiden/*": {"weight_decay": 0.0}}).build(network("sgd").trainable_variables)
    with pytest.raises(ValueError, match=r"groups must be None for a keras.optimizers.Adam"):
        Adam(groups={"*": {"weight_decay": 0.0}}).to_keras()
