"""The usual Keras script, with one import changed.

KERAS_BACKEND=jax python examples/keras_quickstart.py         (or tensorflow, or torch)
"""

import keras
import numpy as np

from adamkit.keras import Adam  # was: from keras.optimizers import Adam

x = np.random.random((1000, 20))
y = np.random.randint(0, 2, size=(1000, 1))  # labels drawn at random, so there is nothing to learn but the rows

model = keras.Sequential(
    [
        keras.Input((20,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=Adam(learning_rate=0.001), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=50, batch_size=32)
