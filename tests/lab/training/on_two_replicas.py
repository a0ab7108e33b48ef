"""Run by test_devices.py on TensorFlow: under a MirroredStrategy of two devices a run is what it is on one.

And steps outside of it, of variables that are on several devices or on another one, are Adam's. Callbacks run there.
"""

import functools
import warnings

import keras
import numpy as np
import tensorflow as tf

from adamkit import lab
from adamkit.keras import Adam, Recalibrate, Watch, one_pass

X = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
Y = X.sum(axis=1)


def train(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer=Adam(0.01, **options), loss="mse")
    return lab.train(model, X, Y, batch_size=8, epochs=2).history.loss


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for options in ({}, {"moment_dtype": "int8"}, {"blockwise": True}):
        alone = train(**options)
        with strategy.scope():
            mirrored = train(**options)
        np.testing.assert_allclose(mirrored, alone, rtol=1e-5)
    with strategy.scope():
        layer = keras.layers.BatchNormalization()
        model = keras.Sequential([keras.Input((64,)), layer, keras.layers.Dense(1)])
        model.compile(Adam(0.01, schedule_free=True), "mse")
    callbacks = [Recalibrate(X), Watch(warn=False)]
    model.fit(X, Y, batch_size=8, epochs=1, verbose=0, validation_data=(X, Y), callbacks=callbacks)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.moving_mean), X.mean(axis=0), atol=1e-5)
    one_pass._LARGE = 1  # from which on one program steps what is where the step count is
    with strategy.scope():
        mirrored = Adam(0.1), [keras.Variable(np.ones(3, "float32"))]
        mirrored[0].build(mirrored[1])
    with tf.device("CPU:1"):
        there = keras.Variable(np.ones(3, "float32"))
    for optimizer, variables, programs in (
        (*mirrored, 0),
        (Adam(0.1), [there, keras.Variable(np.ones(3, "float32"))], 1),
    ):
        step = functools.partial(optimizer.apply, [tf.ones(3) for _ in variables], variables)
        step()
        tf.function(step)()
        assert len(one_pass._PROGRAMS.get(optimizer, {})) == programs
        np.testing.assert_allclose(keras.ops.concatenate(variables), 0.8, rtol=1e-6)
