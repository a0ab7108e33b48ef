"""Small models of the kinds that people train, each with a loss, metrics and data."""

import keras
import numpy as np
from keras import layers

from adamkit.keras import Adam

ROWS = 50  # with batches of 16: three full ones and one of 2
rng = np.random.default_rng(0)
TABLE = rng.normal(size=(ROWS, 6)).astype("float32")
LABELS = (TABLE.sum(axis=1) > 0).astype("float32")
IMAGES = rng.random((ROWS, 8, 8, 1)).astype("float32")
CLASSES = rng.integers(0, 3, ROWS)
WORDS = rng.integers(0, 20, (ROWS, 7))


def dropout_and_batch_normalization():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1, "sigmoid"),
        ]
    )


def convolution():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )


def recurrence():
    return keras.Sequential([keras.Input((7,)), layers.Embedding(20, 4), layers.GRU(5), layers.Dense(3, "softmax")])


def attention():
    words = keras.Input((7,))
    vectors = layers.Embedding(20, 4)(words)
    vectors = layers.LayerNormalization()(vectors + layers.MultiHeadAttention(2, 2)(vectors, vectors))
    return keras.Model(words, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(vectors)))


def two_inputs_two_outputs():
    table, image = keras.Input((6,), name="table"), keras.Input((8, 8, 1), name="image")
    joined = layers.concatenate([layers.Dense(5, "relu")(table), layers.Flatten()(image)])
    outputs = {"sign": layers.Dense(1, "sigmoid", name="sign")(joined), "total": layers.Dense(1, name="total")(joined)}
    return keras.Model({"table": table, "image": image}, outputs)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = layers.Dense(5, "tanh"), layers.Dense(1, "sigmoid")

    def call(self, x):
        return self.out(self.hidden(x))


BINARY = {"loss": "binary_crossentropy", "metrics": ["accuracy"]}
SPARSE = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
CASES = {
    "dropout and batch normalization": (dropout_and_batch_normalization, BINARY, TABLE, LABELS[:, None]),
    "convolution": (convolution, SPARSE, IMAGES, CLASSES),
    "recurrence": (recurrence, SPARSE, WORDS, CLASSES),
    "attention": (attention, SPARSE, WORDS, CLASSES),
    "subclassed": (Subclassed, BINARY, TABLE, LABELS[:, None]),
    "two inputs and two outputs": (
        two_inputs_two_outputs,
        {
            "loss": {"sign": "binary_crossentropy", "total": "mse"},
            "metrics": {"sign": ["accuracy", "auc"], "total": ["mae"]},
        },
        {"table": TABLE, "image": IMAGES},
        {"sign": LABELS[:, None], "total": TABLE.sum(axis=1, keepdims=True)},
    ),
}


def compiled(make, objective, optimizer=None):
    keras.utils.set_random_seed(3)
    model = make()
    model.compile(optimizer=optimizer or Adam(0.01, epsilon_hat=True), **objective)
    return model
