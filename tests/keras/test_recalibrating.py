"""Statistics of batch normalization computed anew: those of the data, in float64, at the weights of evaluation."""

import doctest

import keras
import numpy as np
import pytest

from adamkit.keras import Adam, Recalibrate, recalibrate, recalibrating
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow  # seconds, all in all

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(50, 3)) * [1.0, 5.0, 0.1] + [0.0, 30.0, -1.0]).astype("float32")
Y = (X[:, :1] - 0.2 * X[:, 1:2]).astype("float32")


def network(*layers, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(Adam(0.05, **options), "mse")
    return model


def statistics(layer):
    return as_numpy(layer.moving_mean), as_numpy(layer.moving_variance)


def exact(values):
    values = values.astype(np.float64).reshape(-1, values.shape[-1])
    return values.mean(axis=0), values.var(axis=0)


def assert_exact(layer, values):
    for found, expected in zip(statistics(layer), exact(values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[13 * index :][:13], Y[13 * index :][:13]


def test_statistics_are_those_of_all_rows_however_they_are_cut_into_batches():
    generator = ((X[i : i + 13], Y[i : i + 13]) for i in range(0, 50, 13))
    for data in (X, Batches(), generator):
        layer = keras.layers.BatchNormalization()
        recalibrate(network(layer), data, batch_size=13)
        assert_exact(layer, X)


def test_a_tf_dataset_and_steps():
    tf = pytest.importorskip("tensorflow")
    layer = keras.layers.BatchNormalization()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(13).repeat()
    recalibrate(network(layer), data, steps=np.int64(2))
    assert_exact(layer, X[:26])


def test_batches_that_workers_make_end_with_the_steps():
    layer = keras.layers.BatchNormalization()
    recalibrate(network(layer), Batches(workers=2), steps=2)
    assert_exact(layer, X[:26])


def test_layers_within_layers_other_axes_and_masks():
    images = RNG.normal(2, 3, size=(6, 2, 4, 4)).astype("float32")  # channels first
    inner = keras.Sequential([keras.Input((2, 4, 4)), keras.layers.BatchNormalization(axis=1)])
    model = keras.Sequential([keras.Input((2, 4, 4)), inner, keras.layers.Flatten(), keras.layers.Dense(1)])
    recalibrate(model, images, batch_size=4)
    assert_exact(inner.layers[-1], images.transpose(0, 2, 3, 1))
    rows = RNG.normal(size=(5, 4, 3)).astype("float32")
    rows[0, 2:] = rows[3, 1:] = 0
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Masking(), layer])
    recalibrate(model, rows, batch_size=2)
    assert_exact(layer, rows[(rows != 0).any(axis=-1)])


def test_a_layer_behind_another_sees_what_that_normalizes_by_the_batch_and_dropout_does_nothing():
    first, second = keras.layers.BatchNormalization(), keras.layers.BatchNormalization(axis=-1)
    model = network(first, keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(4), second)
    kernel, bias = (as_numpy(variable).astype(np.float64) for variable in model.layers[2].variables)
    others = [v for v in model.variables if "moving" not in v.path]
    before = [as_numpy(v) for v in (*others, *model.optimizer.variables)]
    recalibrate(model, X, batch_size=50)
    mean, variance = exact(X)
    hidden = (X - mean) / np.sqrt(variance + first.epsilon) @ kernel + bias
    for found, expected in zip(statistics(second), exact(hidden), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for value, variable in zip(before, (*others, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(value, as_numpy(variable))
    assert (first.momentum, second.momentum) == (0.99, 0.99)
    kept = statistics(second)
    recalibrate(model, X, batch_size=50)  # and again, from other statistics, the same
    np.testing.assert_array_equal(kept, statistics(second))


def test_it_is_done_at_the_weights_of_evaluation_and_evaluation_gains():
    """Large steps, so that y and x differ, and statistics that have not come far from 0 and 1."""
    dense, layer = keras.layers.Dense(4), keras.layers.BatchNormalization()
    model = network(dense, layer, schedule_free=True)
    model.fit(X, Y, batch_size=10, epochs=10, verbose=0)
    model.train_on_batch(X[:10], Y[:10])
    at_y, loss_before = as_numpy(dense.kernel), model.evaluate(X, Y, verbose=0)
    recalibrate(model, X)
    np.testing.assert_array_equal(as_numpy(dense.kernel), at_y)
    assert model.evaluate(X, Y, verbose=0) < loss_before
    model.optimizer.eval()
    assert np.abs(as_numpy(dense.kernel) - at_y).max() > 0.001
    assert_exact(layer, X.astype(np.float64) @ as_numpy(dense.kernel) + as_numpy(dense.bias))


def test_the_callback_does_it_before_each_validation_and_at_the_end():
    dense, layer = keras.layers.Dense(4), keras.layers.BatchNormalization()
    model = network(dense, layer, schedule_free=True)
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            assert self.model is model  # and, on JAX, its state is there
            hidden = X.astype(np.float64) @ as_numpy(dense.kernel) + as_numpy(dense.bias)
            seen.append((statistics(layer), exact(hidden)))

    fit = {"epochs": 2, "batch_size": 10, "verbose": 0}
    model.fit(X, Y, validation_data=(X, Y), callbacks=[Recalibrate(X), Seen()], **fit)
    assert len(seen) == 2
    for found, expected in seen:
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    kept = statistics(layer)
    assert model.optimizer.is_averaged
    assert_exact(layer, X.astype(np.float64) @ as_numpy(dense.kernel) + as_numpy(dense.bias))
    model.evaluate(X, Y, verbose=0)
    np.testing.assert_array_equal(kept, statistics(layer))
    model.fit(X, Y, callbacks=[Recalibrate(X)], **fit)  # without validation
    assert_exact(layer, X.astype(np.float64) @ as_numpy(dense.kernel) + as_numpy(dense.bias))


def test_frozen_layers_and_models_without_such_layers_stay_as_they_are():
    frozen = keras.layers.BatchNormalization(trainable=False)
    recalibrate(network(frozen), X)
    np.testing.assert_array_equal(statistics(frozen), [np.zeros(3), np.ones(3)])
    plain = network()
    before = [as_numpy(v) for v in plain.variables]
    recalibrate(plain, X)
    for value, variable in zip(before, plain.variables, strict=True):
        np.testing.assert_array_equal(value, as_numpy(variable))


def test_an_error_on_the_way_leaves_all_as_it_was():
    layer = keras.layers.BatchNormalization()
    model = network(layer)
    recalibrate(model, X)
    before = statistics(layer)

    def batches():
        yield (X[:5],)
        yield (X[5:9],)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        recalibrate(model, batches())
    np.testing.assert_array_equal(before, statistics(layer))
    assert layer.momentum == 0.99
    model.fit(X, Y, verbose=0)
    assert not np.array_equal(before, statistics(layer))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "resnet"}, TypeError, "model must be a keras.Model. Received: 'resnet'"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1. Received: batch_size=0"),
        ({"steps": 1.5}, TypeError, "steps must be a whole number >= 1. Received: steps=1.5 of type float"),
        ({"x": X[:0]}, ValueError, "x must have at least one batch. Received: ndarray without any"),
        ({"x": None}, ValueError, "x must be data as fit takes it: arrays or batches. Received: x=None"),
        ({"x": (row for row in ())}, ValueError, "must yield at least one batch"),
        ({"model": keras.Sequential([keras.layers.BatchNormalization()])}, ValueError, "model must be built"),
    ],
)
def test_bad_input_is_an_error_of_one_line(arguments, error, message):
    given = {"model": network(keras.layers.BatchNormalization()), "x": X} | arguments
    with pytest.raises(error, match=message):
        recalibrate(given.pop("model"), given.pop("x"), **given)


def test_the_examples_run():
    assert doctest.testmod(recalibrating).failed == 0
