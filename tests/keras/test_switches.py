"""Bias correction and adaptivity left out, and variants: the oracle's path on each backend, and in Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit.keras import Adam
from tests import reference
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow  # seconds, all in all

SWITCHES = [{"bias_correction": False}, {"adaptivity": False}, {"bias_correction": False, "adaptivity": False}]
VARIANTS = [
    {"nesterov": True, "rectified": True, "momentum_decay": 1.0},
    {"cautious": True, "amsgrad": True},
    {"adopt": True, "nesterov": True, "cautious": True},
    {"schedule_free": True, "amsgrad": True},
]
OPTIONS = {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-5, "weight_decay": 0.1}


def path(optimizer, gradients, start, dtype="float32"):
    variable = keras.Variable(start, dtype=dtype)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    return as_numpy(variable)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("more", [{}, {"amsgrad": True, "epsilon_hat": True}], ids=["plain", "amsgrad"])
def test_steps_follow_the_oracle(switches, more):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4)).astype("float32")
    gradients = rng.normal(size=(7, 3, 4)).astype("float32")
    options = OPTIONS | switches | more
    expected = reference.run(start, gradients, **options)[-1].theta
    np.testing.assert_allclose(path(Adam(**options), gradients, start), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_variants_follow_the_oracle(variant):
    rng = np.random.default_rng(1)
    start = rng.normal(size=(3, 4)).astype("float32")
    gradients = rng.normal(size=(9, 3, 4)).astype("float32")
    options = OPTIONS | variant
    expected = reference.run(start, gradients, **options)[-1].theta
    np.testing.assert_allclose(path(Adam(**options), gradients, start), expected, rtol=1e-5, atol=1e-6)


def test_a_variant_trains_in_fit_and_is_saved():
    """Where the step is compiled."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(64, 3)).astype("float32")
    found = []
    for eager in (False, True):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(Adam(0.01, nesterov=True, rectified=True, momentum_decay=0.5), loss="mse", run_eagerly=eager)
        model.fit(x, x[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0)
        found.append(as_numpy(model.trainable_variables[0]))
    np.testing.assert_allclose(*found, rtol=1e-5)
    again = Adam.from_config(model.optimizer.get_config())
    assert (again.nesterov, again.rectified, again.cautious, again.adopt) == (True, True, False, False)
    assert again.momentum_decay == 0.5
    with pytest.raises(ValueError, match=r"only Adam itself can become .* nesterov-rectified"):
        again.to_keras()
    with pytest.raises(ValueError, match="adopt=True does not go with epsilon_hat=True"):
        Adam(adopt=True, epsilon_hat=True)


def test_a_switch_reaches_narrow_moments_and_narrow_variables():
    start = np.full(4096, 0.5, "float32")
    gradients = np.full((3, 4096), 0.25, "float32")
    optimizer = Adam(learning_rate=0.01, beta_1=0.0, adaptivity=False, moment_dtype="int8")
    np.testing.assert_allclose(path(optimizer, gradients, start), 0.5 - 3 * 0.01 * 0.25, rtol=1e-6)
    optimizer = Adam(learning_rate=0.01, beta_1=0.0, adaptivity=False)
    narrow = path(optimizer, gradients, start, "bfloat16").astype("float32")
    np.testing.assert_allclose(narrow, 0.5 - 3 * 0.01 * 0.25, rtol=2**-8)


def test_switches_are_saved_and_made_again():
    again = Adam.from_config(Adam(bias_correction=False, adaptivity=False).get_config())
    assert (again.bias_correction, again.adaptivity) == (False, False)
    assert Adam.from_keras(keras.optimizers.Adam()).bias_correction


@pytest.mark.parametrize("name", ["bias_correction", "adaptivity"])
def test_keras_has_no_such_switch(name):
    with pytest.raises(ValueError, match=f"{name} must be True for a keras.optimizers.Adam"):
        Adam(**{name: False}).to_keras()
    with pytest.raises(TypeError, match=f"{name} must be True or False"):
        Adam(**{name: 0})
