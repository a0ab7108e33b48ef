"""Run by test_devices.py on TensorFlow: under a MirroredStrategy of two devices a run is what it is on one."""

import keras
import numpy as np
import tensorflow as tf

from adamkit import lab
from adamkit.keras import Adam

X = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
Y = X.sum(axis=1)


def train(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer=Adam(0.01, **options), loss="mse")
    return lab.train(model, X, Y, batch_size=8, epochs=2).history.loss


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for options in ({}, {"moment_dtype": "int8"}, {"blockwise": True}):
        alone = train(**options)
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            mirrored = train(**options)
        np.testing.assert_allclose(mirrored, alone, rtol=1e-5)
