"""Schedule-free in Keras: which weights a model has, in `fit`, around `evaluate`, `predict` and `save`, and after."""

import keras
import numpy as np
import pytest
from keras import ops

import adamkit
from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow  # seconds, all in all

ROWS = np.random.default_rng(0).normal(size=(48, 3)).astype("float32")
TARGETS = ROWS[:, :1] - 0.5 * ROWS[:, 1:2]


def made(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(Adam(0.05, schedule_free=True, **options), loss="mse")
    return model


def weights(model):
    return as_numpy(model.trainable_variables[0])


def loss_of(kernel, bias):
    return float(np.mean((ROWS @ kernel + bias - TARGETS) ** 2))


@pytest.fixture
def expected():
    """y and x of both variables after 12 steps, by the functions on NumPy arrays."""
    model = made()
    theta = [as_numpy(variable) for variable in model.trainable_variables]
    states = [adamkit.init(value) for value in theta]
    for step in range(12):
        x, y = (part[step % 6 * 8 :][:8] for part in (ROWS, TARGETS))
        error = 2 * (x @ theta[0] + theta[1] - y) / len(x)
        for place, gradient in enumerate((x.T @ error, error.sum(axis=0))):
            theta[place], states[place] = adamkit.step(
                theta[place], gradient, states[place], learning_rate=0.05, epsilon=1e-7, schedule_free=True
            )
    return theta, [value + state.first_moment for value, state in zip(theta, states, strict=True)]


def test_fit_ends_with_the_average_and_goes_on_from_where_it_was(expected, tmp_path):
    _, x = expected
    model = made()
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_loss"]))
    model.fit(
        ROWS, TARGETS, batch_size=8, epochs=2, shuffle=False, verbose=0, validation_data=(ROWS, TARGETS),
        callbacks=[watch],
    )  # fmt: skip
    assert model.optimizer.is_averaged
    np.testing.assert_allclose(weights(model), x[0], rtol=1e-4, atol=1e-6)
    assert seen[-1] == pytest.approx(loss_of(*x), rel=1e-4)
    assert model.evaluate(ROWS, TARGETS, verbose=0) == pytest.approx(loss_of(*x), rel=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.schedule_free
    assert again.optimizer.is_averaged
    np.testing.assert_array_equal(weights(again), weights(model))
    whole = made()
    whole.fit(ROWS, TARGETS, batch_size=8, epochs=4, shuffle=False, verbose=0)
    for one in (model, again):
        one.fit(ROWS, TARGETS, batch_size=8, epochs=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(weights(one), weights(whole), rtol=1e-4, atol=1e-6)
    model.optimizer.train()
    assert not np.allclose(weights(model), weights(whole), rtol=1e-4)


def test_what_looks_at_weights_in_between_finds_the_average_and_changes_nothing(expected, tmp_path):
    y, x = expected
    model = made()
    for step in range(12):
        rows = slice(step % 6 * 8, step % 6 * 8 + 8)
        model.train_on_batch(ROWS[rows], TARGETS[rows])
        before = weights(model)
        model.evaluate(ROWS[:8], TARGETS[:8], verbose=0)
        np.testing.assert_array_equal(weights(model), before)
    np.testing.assert_allclose(before, y[0], rtol=1e-4, atol=1e-6)
    predicted = model.predict(ROWS, verbose=0)
    np.testing.assert_allclose(predicted, ROWS @ x[0] + x[1], rtol=1e-3, atol=1e-5)
    found = model.get_weights()
    np.testing.assert_allclose(found[0], x[0], rtol=1e-4, atol=1e-6)
    model.save_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(weights(model), before)
    model.set_weights(found)
    np.testing.assert_allclose(weights(model), before, rtol=1e-5, atol=1e-6)
    again = made()
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(weights(again), x[0], rtol=1e-4, atol=1e-6)


def test_narrow_variables_int8_moments_and_accumulated_gradients():
    start = np.linspace(-1, 1, 5000, dtype="float32")
    paths = []
    for dtype, options in (("float32", {}), ("bfloat16", {}), ("float32", {"gradient_accumulation_steps": 2})):
        optimizer = Adam(0.01, schedule_free=True, moment_dtype="int8", **options)
        variable = keras.Variable(start, dtype=dtype)
        for _ in range(4 * options.get("gradient_accumulation_steps", 1)):
            optimizer.apply([ops.sign(ops.convert_to_tensor(start))], [variable])
        y = as_numpy(variable).astype("float32")
        optimizer.eval()
        x = as_numpy(variable).astype("float32")
        optimizer.train()
        np.testing.assert_allclose(as_numpy(variable).astype("float32"), y, rtol=1e-6, atol=1e-7)
        paths.append((y, x))
    np.testing.assert_allclose(paths[0], paths[1], rtol=2**-7, atol=1e-3)
    np.testing.assert_allclose(paths[0], paths[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.abs(paths[0][1] - paths[0][0])[np.abs(start) > 0.1], 0.0015, rtol=0.1)


def test_state_of_another_rule_is_taken_over_as_far_as_it_means_something():
    variable = keras.Variable([1.0, -1.0, 0.5])
    plain, ours = Adam(0.1), Adam(0.1, schedule_free=True)
    for _ in range(3):
        plain.apply([keras.ops.array([1.0, 2.0, 3.0])], [variable])
    ours.build([variable])
    stored: dict[str, np.ndarray] = {}
    plain.save_own_variables(stored)
    with pytest.warns(UserWarning, match="m is left out"):
        ours.load_own_variables(stored)
    assert int(ours.iterations) == 3
    _, velocity = (as_numpy(slot.values) for slot in ours._slots(variable))
    np.testing.assert_array_equal(velocity, as_numpy(plain._slots(variable)[1].values))
    before = as_numpy(variable)
    ours.eval()
    np.testing.assert_array_equal(as_numpy(variable), before)
    stored = {}
    ours.save_own_variables(stored)
    with pytest.warns(UserWarning, match="x - y is left out"):
        plain.load_own_variables(stored)
    assert not as_numpy(plain._slots(variable)[0].values).any()


def test_what_does_not_go_with_it_is_an_error():
    with pytest.raises(ValueError, match="schedule_free=True does not go with use_ema=True"):
        Adam(schedule_free=True, use_ema=True)
    with pytest.raises(ValueError, match=r"only Adam itself can become .* schedule_free"):
        Adam(schedule_free=True).to_keras()
