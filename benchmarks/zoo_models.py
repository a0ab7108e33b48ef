"""The kinds of models of `benchmarks.zoo`: each small, with made-up data, a loss and metrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops


class Kind(NamedTuple):
    """A kind of model, and what it is trained on."""

    name: str
    build: Callable[[], keras.Model]  # not compiled
    data: Callable[[np.random.Generator], tuple[Any, Any]]  # x, y
    loss: Any
    metrics: Any = None
    epochs: int = 2


# Data -----------------------------------------------------------------------------------------------------------------


def pictures(rows: int, side: int, channels: int = 3, classes: int = 10) -> Callable:
    """Noise, brighter in a stripe whose place is the class."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        y = rng.integers(0, classes, rows)
        x = rng.normal(size=(rows, side, side, channels)).astype("float32")
        x[np.arange(rows), y * side // classes] += 1
        return x, y

    return make


def signals(rows: int, length: int, channels: int = 4, classes: int = 4) -> Callable:
    """Noise around a wave whose frequency is the class."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        y = rng.integers(0, classes, rows)
        wave = np.sin(np.arange(length) * (1 + y[:, None]) / 4)
        return (rng.normal(size=(rows, length, channels)) + wave[..., None]).astype("float32"), y

    return make


def table(rows: int, columns: int, classes: int = 10) -> Callable:
    """Columns of which a random linear map decides the class."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.normal(size=(rows, columns)).astype("float32")
        return x, (x @ rng.normal(size=(columns, classes))).argmax(axis=1)

    return make


def words(rows: int, length: int, vocabulary: int) -> Callable:
    """Sequences that count upwards with gaps; the target is the next word at each place."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        steps = rng.integers(1, 4, (rows, 1)) * np.arange(length + 1)
        codes = (rng.integers(0, vocabulary, (rows, 1)) + steps) % vocabulary
        return codes[:, :-1].astype("int32"), codes[:, 1:].astype("int32")

    return make


def labelled_words(rows: int, length: int, vocabulary: int, classes: int = 4) -> Callable:
    """As `words`, of which the first one decides the class."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        x, _ = words(rows, length, vocabulary)(rng)
        return x, x[:, 0] % classes

    return make


def itself(make: Callable) -> Callable:
    """The inputs as the target."""

    def both(rng: np.random.Generator) -> tuple[Any, Any]:
        x, _ = make(rng)
        return x, x

    return both


# Models ---------------------------------------------------------------------------------------------------------------


def _sequential(shape: tuple, *parts: Any) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *parts])


def _classifier(shape: tuple, *parts: Any, classes: int = 10) -> keras.Model:
    return _sequential(shape, *parts, layers.Dense(classes, "softmax"))


def dense() -> keras.Model:
    return _classifier((20,), layers.Dense(64, "relu"), layers.Dense(64, "relu"))


def dense_512() -> keras.Model:
    return _classifier((64,), layers.Dense(512, "relu"), layers.Dense(512, "relu"))


def batch_normalization() -> keras.Model:
    hidden = [(layers.Dense(64), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2)) for _ in range(2)]
    return _classifier((20,), *(layer for block in hidden for layer in block))


def spectral_normalization() -> keras.Model:
    hidden = [layers.SpectralNormalization(layers.Dense(64, "relu")) for _ in range(2)]
    return _classifier((20,), *hidden)


def convolution() -> keras.Model:
    return _classifier(
        (16, 16, 3),
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
    )


def average_pooling() -> keras.Model:
    return _classifier(
        (16, 16, 3),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Flatten(),
    )


def depthwise() -> keras.Model:
    return _classifier(
        (16, 16, 3),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        layers.DepthwiseConv2D(5, strides=2, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
    )


def separable() -> keras.Model:
    return _classifier(
        (16, 16, 3),
        layers.SeparableConv2D(16, 3, padding="same", activation="relu"),
        layers.SeparableConv2D(32, 3, strides=2, activation="relu"),
        layers.GlobalMaxPooling2D(),
    )


def grouped() -> keras.Model:
    return _classifier(
        (16, 16, 3),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(32, 3, groups=4, dilation_rate=2, activation="relu"),
        layers.Conv2D(32, 3, groups=8, activation="relu"),
        layers.GlobalAveragePooling2D(),
    )


def resnet() -> keras.Model:
    def block(x: Any, filters: int, stride: int) -> Any:
        way = x
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
        if stride > 1:
            way = layers.Conv2D(filters, 1, stride)(way)
        return layers.ReLU()(x + way)

    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same")(image)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        x = block(x, filters, stride)
    return keras.Model(image, layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x)))


def mobilenet() -> keras.Model:
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)


def u_net() -> keras.Model:
    image = keras.Input((16, 16, 3))
    upper = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    lower = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(upper))
    x = layers.concatenate([layers.UpSampling2D(interpolation="bilinear")(lower), upper])
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Conv2D(3, 1)(x))


def autoencoder() -> keras.Model:
    return _sequential(
        (16, 16, 3),
        layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        layers.UpSampling2D(),
        layers.Conv2D(3, 3, padding="same"),
    )


class VAE(keras.Model):
    """A variational autoencoder: random numbers in each step, and a loss that a layer adds."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(16)])
        self.decoder = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(20)])
        self.noise = keras.random.SeedGenerator(0)

    def call(self, x: Any) -> Any:
        """Its likeness."""
        mean, log_variance = ops.split(self.encoder(x), 2, axis=-1)
        self.add_loss(-0.05 * ops.mean(1 + log_variance - mean**2 - ops.exp(log_variance)))
        return self.decoder(mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.noise))


class Distiller(keras.Model):
    """A training step of its own: a part of the loss is a fixed network's."""

    def __init__(self) -> None:
        super().__init__()
        self.student = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(10)])
        self.teacher = keras.Sequential([layers.Dense(64, "tanh"), layers.Dense(10)])
        self.teacher.trainable = False

    def call(self, x: Any) -> Any:
        """The student's answer."""
        return self.student(x)

    def build(self, shape: Any) -> None:
        """Of both networks."""
        self.teacher.build(shape)
        self.student.build(shape)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """How far it is from the labels and from the teacher."""
        apart = ops.mean(ops.square(ops.softmax(self.teacher(x)) - ops.softmax(y_pred)))
        return super().compute_loss(x, y, y_pred, sample_weight, training) + apart


def conv1d_causal() -> keras.Model:
    parts = [layers.Conv1D(24, 3, padding="causal", dilation_rate=2**i, activation="relu") for i in range(4)]
    return _classifier((64, 4), *parts, layers.GlobalAveragePooling1D(), classes=4)


def conv1d_64() -> keras.Model:
    return _classifier(
        (256, 4),
        layers.Conv1D(16, 64, strides=4, activation="relu"),
        layers.Conv1D(16, 5, activation="relu"),
        layers.GlobalAveragePooling1D(),
        classes=4,
    )


def conv3d() -> keras.Model:
    return _classifier(
        (8, 8, 8, 1), layers.Conv3D(8, 3, activation="relu"), layers.AveragePooling3D(2), layers.Flatten()
    )


def transformer() -> keras.Model:
    codes = keras.Input((32,), dtype="int32")
    x = layers.Embedding(50, 32)(codes) + layers.Embedding(32, 32)(ops.arange(32))
    for _ in range(2):
        h = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8)(h, h, use_causal_mask=True)
        x = x + layers.Dense(32)(layers.Dense(128, "gelu")(layers.LayerNormalization()(x)))
    return keras.Model(codes, layers.Dense(50)(layers.LayerNormalization()(x)))


class TiedGRU(keras.Model):
    """A language model that reads and writes with the same embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.words = layers.Embedding(200, 64)
        self.recurrence = layers.GRU(64, return_sequences=True)

    def call(self, codes: Any) -> Any:
        """Of each next word, the logarithm of its odds."""
        return self.recurrence(self.words(codes)) @ ops.transpose(self.words.embeddings)


def lstm() -> keras.Model:
    return _classifier((20,), layers.Embedding(50, 16, mask_zero=True), layers.LSTM(32), classes=4)


def bidirectional() -> keras.Model:
    return _classifier((32, 4), layers.Bidirectional(layers.GRU(16)), classes=4)


def conv_lstm() -> keras.Model:
    return _classifier(
        (4, 8, 8, 1), layers.ConvLSTM2D(8, 3, padding="same"), layers.GlobalAveragePooling2D(), classes=4
    )


def videos(rows: int) -> Callable:
    """Four pictures a row."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        x, y = pictures(rows, 8, 4, classes=4)(rng)
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)[..., None]), y

    return make


def cubes(rows: int) -> Callable:
    """A class in each cube."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        x, y = pictures(rows, 8, 8)(rng)
        return x[..., None], y

    return make


def recommender() -> keras.Model:
    user, item = keras.Input((1,), dtype="int32", name="user"), keras.Input((1,), dtype="int32", name="item")
    vectors = [layers.Flatten()(layers.Embedding(n, 16)(code)) for n, code in ((200, user), (100, item))]
    x = layers.concatenate([*vectors, layers.multiply(vectors)])
    return keras.Model({"user": user, "item": item}, layers.Dense(1)(layers.Dense(32, "relu")(x)))


def ratings(rows: int) -> Callable:
    """Users' ratings of items."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        codes = {"user": rng.integers(0, 200, (rows, 1)), "item": rng.integers(0, 100, (rows, 1))}
        taste = rng.normal(size=200)[codes["user"]] * rng.normal(size=100)[codes["item"]]
        return {name: code.astype("int32") for name, code in codes.items()}, taste.astype("float32")

    return make


def two_inputs_two_outputs() -> keras.Model:
    columns, image = keras.Input((20,), name="columns"), keras.Input((8, 8, 1), name="image")
    seen = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))
    x = layers.concatenate([layers.Dense(32, "relu")(columns), seen])
    outputs = {"class": layers.Dense(10, "softmax", name="class")(x), "sum": layers.Dense(1, name="sum")(x)}
    return keras.Model({"columns": columns, "image": image}, outputs)


def tables_and_pictures(rows: int) -> Callable:
    """A table and pictures, a class and a number."""

    def make(rng: np.random.Generator) -> tuple[Any, Any]:
        columns, y = table(rows, 20)(rng)
        image, _ = pictures(rows, 8, 1)(rng)
        return {"columns": columns, "image": image}, {"class": y, "sum": columns.sum(axis=1, keepdims=True)}

    return make


SPARSE: dict[str, Any] = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
LOGITS: dict[str, Any] = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
TWO: dict[str, Any] = {"loss": {"class": "sparse_categorical_crossentropy", "sum": "mse"}}
KINDS = [
    Kind("dense layers", dense, table(1000, 20), **SPARSE),
    Kind("dense layers of 512", dense_512, table(500, 64), **SPARSE),
    Kind("batch normalization, dropout", batch_normalization, table(1000, 20), **SPARSE),
    Kind("spectral normalization", spectral_normalization, table(1000, 20), **SPARSE),
    Kind("two inputs, two outputs", two_inputs_two_outputs, tables_and_pictures(500), **TWO),
    Kind("recommender, two embeddings", recommender, ratings(1000), "mse"),
    Kind("variational autoencoder", VAE, itself(table(1000, 20)), "mse"),
    Kind("distillation, own loss", Distiller, table(1000, 20), **LOGITS),
    Kind("convolution", convolution, pictures(300, 16), **SPARSE),
    Kind("average pooling", average_pooling, pictures(300, 16), **SPARSE),
    Kind("depthwise convolution", depthwise, pictures(300, 16), **SPARSE),
    Kind("separable convolution", separable, pictures(300, 16), **SPARSE),
    Kind("grouped, dilated convolution", grouped, pictures(300, 16), **SPARSE),
    Kind("autoencoder, transposed convolution", autoencoder, itself(pictures(300, 16)), "mse"),
    Kind("U-Net, bilinear up-sampling", u_net, itself(pictures(300, 16)), "mse"),
    Kind("small ResNet", resnet, pictures(100, 16), **SPARSE),
    Kind("MobileNetV2, 32 × 32", mobilenet, pictures(64, 32), **SPARSE, epochs=1),
    Kind("Conv1D, causal, dilated", conv1d_causal, signals(300, 64), **SPARSE),
    Kind("Conv1D, kernel of 64", conv1d_64, signals(200, 256), **SPARSE),
    Kind("Conv3D", conv3d, cubes(200), **SPARSE),
    Kind("LSTM, masked", lstm, labelled_words(300, 20, 50), **SPARSE),
    Kind("bidirectional GRU", bidirectional, signals(300, 32), **SPARSE),
    Kind("GRU language model, tied", TiedGRU, words(200, 20, 200), **LOGITS),
    Kind("ConvLSTM", conv_lstm, videos(100), **SPARSE),
    Kind("transformer", transformer, words(200, 32, 50), **LOGITS),
]
