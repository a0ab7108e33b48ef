import json
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from adamkit.lab import data, models
from adamkit.lab.data import Dataset
from adamkit.lab.errors import InputError
from adamkit.lab.models import objectives

# Keras's own, when it saves under JAX with NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

NAMES = tuple("abcdefghij")


def dataset(*row_shape, target="binary", classes=2, rows=20):
    rng = np.random.default_rng(0)
    x = rng.random((rows, *row_shape)).astype(np.float32)
    if target == "number":
        return Dataset("made", x, rng.random(rows).astype(np.float32), target)
    y = (np.arange(rows) % classes).astype(np.float32 if target == "binary" else np.int32)
    return Dataset("made", x, y, target, NAMES[:classes])


VECTORS, IMAGES = dataset(20), dataset(8, 8, 1, target="classes", classes=10)
TARGETS = {
    "binary": (VECTORS, 1, "sigmoid"),
    "classes": (dataset(20, target="classes", classes=3), 3, "softmax"),
    "number": (dataset(20, target="number"), 1, "linear"),
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rejected(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_the_examples_model():
    model = models.build("mlp", data.load("random"))
    assert [(type(layer), layer.units, layer.activation.__name__) for layer in model.layers] == [
        (layers.Dense, 64, "relu"),
        (layers.Dense, 1, "sigmoid"),
    ]
    assert not model.compiled


@pytest.mark.parametrize("name", ["mlp", "logistic"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_output_layer_follows_from_the_target(name, target):
    rows, outputs, activation = TARGETS[target]
    model = models.build(name, rows)
    assert model.built
    assert model.output_shape == (None, outputs)
    assert model.layers[-1].activation.__name__ == activation
    assert len(model.layers) == (2 if name == "mlp" else 1)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (28, 28), (3, 5, 2), (1, 1, 1)])
@pytest.mark.slow
def test_every_model_takes_images(name, shape):
    rows = dataset(*shape, target="classes", classes=10)
    model = models.build(name, rows)
    assert model.input_shape == (None, *shape)
    probabilities = np.asarray(model(rows.x))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (name == "cnn") == any(isinstance(layer, layers.Conv2D) for layer in model.layers)


@pytest.mark.parametrize("shape", [(20,), (4, 4, 4, 1)])
def test_a_cnn_needs_images(shape):
    assert "needs images" in rejected(models.build, "cnn", dataset(*shape))


def test_the_same_seed_gives_the_same_weights():
    def weights():
        keras.utils.set_random_seed(7)
        return models.build("mlp", VECTORS).get_weights()

    for one, other in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", ["loss", "metric"])
@pytest.mark.slow
def test_what_is_said_to_fit_is_right(what, target):
    """With labels (rows,), as they are here, each has the value that it has with labels (rows, 1)."""
    rows, _, _ = TARGETS[target]
    model = models.build("logistic", rows)
    outputs = model(rows.x)
    for name in (objectives._LOSSES if what == "loss" else objectives._METRICS)[target]:
        loss, metrics = models.objective(rows, name if what == "loss" else None, [] if what == "loss" else [name])
        values = []
        for y in (rows.y, rows.y[:, None]):
            model.compile(loss=loss, metrics=metrics)
            value = model.compute_loss(rows.x, y, outputs)
            values.append(value if what == "loss" else model.compute_metrics(rows.x, y, outputs)[name])
        assert np.isfinite(values).all(), name
        assert values[0] == values[1], name


@pytest.mark.parametrize(
    ("target", "loss", "metrics"),
    [
        ("binary", "binary_crossentropy", ["accuracy"]),
        ("classes", "sparse_categorical_crossentropy", ["accuracy"]),
        ("number", "mse", ["mae"]),
    ],
)
def test_the_objective_follows_from_the_target(target, loss, metrics):
    rows, _, _ = TARGETS[target]
    assert models.objective(rows) == (loss, metrics)
    assert models.objective(rows, loss, metrics) == (loss, metrics)
    assert models.objective(rows, metrics=[]) == (loss, [])
    if target != "number":
        assert models.objective(rows, "crossentropy") == (loss, metrics)


def test_names_that_keras_knows_too():
    number, _, _ = TARGETS["number"]
    for loss in ("MSE", "mean_squared_error", "MeanSquaredError", "Huber"):
        assert models.objective(number, loss)[0] == loss
    assert models.objective(VECTORS, "bce", ["acc", "AUC", "acc"]) == ("bce", ["acc", "AUC"])


def test_a_binary_target_with_two_outputs():
    model = keras.Sequential([keras.Input((20,)), layers.Dense(2, "softmax")])
    loss, metrics = models.objective(VECTORS, model=model)
    assert loss == "sparse_categorical_crossentropy"
    model.compile(loss=loss, metrics=metrics)
    assert np.isfinite(model.evaluate(VECTORS.x, VECTORS.y, verbose=0)).all()
    assert "does not fit" in rejected(models.objective, VECTORS, "binary_crossentropy", model=model)


@pytest.mark.parametrize(
    ("target", "loss", "metrics", "parts"),
    [
        ("binary", "binary_crosentropy", None, ["unknown loss", "Did you mean 'binary_crossentropy'?"]),
        ("binary", "sparse_categorical_crossentropy", None, ["2 classes", "fit: binary_crossentropy"]),
        ("classes", "binary_crossentropy", None, ["3 classes", "0 … 2", "fit: sparse_categorical_crossentropy"]),
        ("classes", "categorical_crossentropy", None, ["does not fit", "sparse_categorical_crossentropy"]),
        ("classes", "mse", None, ["does not fit", "sparse_categorical_crossentropy"]),
        ("number", "sparse_categorical_crossentropy", None, ["does not fit a target that is a number", "mse"]),
        ("number", "crossentropy", None, ["unknown loss", "mse"]),
        ("number", "deserialize", None, ["unknown loss"]),
        ("number", None, ["accuracy"], ["metric 'accuracy' does not fit", "mae"]),
        ("number", None, ["maee"], ["unknown metric 'maee'", "Did you mean 'mae'?"]),
        ("binary", None, ["accuracy", "acuracy"], ["unknown metric 'acuracy'", "Did you mean 'accuracy'?"]),
        ("binary", None, ["hinge"], ["metric 'hinge' does not fit"]),  # Keras is silently wrong there
        ("classes", None, ["mse"], ["metric 'mse' does not fit"]),
        ("classes", None, ["MeanIoU"], ["does not fit"]),  # needs an argument
    ],
)
def test_an_objective_that_does_not_fit(target, loss, metrics, parts):
    message = rejected(models.objective, TARGETS[target][0], loss, metrics)
    for part in parts:
        assert part in message


def test_a_saved_model_is_the_same_model():
    model = models.build("cnn", IMAGES)
    model.save("plain.keras")
    loaded = models.build("plain.keras", IMAGES)
    np.testing.assert_array_equal(loaded(IMAGES.x), model(IMAGES.x))
    assert not loaded.compiled
    model.compile("adam", loss="sparse_categorical_crossentropy")
    model.save("compiled.keras")  # its optimizer has no state yet, of which Keras would warn
    assert models.build("compiled.keras", IMAGES).loss == "sparse_categorical_crossentropy"


def test_a_model_compiled_with_adamkits_adam_loads():
    from adamkit.keras import Adam

    model = models.build("logistic", VECTORS)
    model.compile(Adam(learning_rate=0.25), loss="binary_crossentropy")
    model.fit(VECTORS.x, VECTORS.y, verbose=0)
    model.save("own.keras")
    optimizer = models.build("own.keras", VECTORS).optimizer
    assert isinstance(optimizer, Adam)
    assert float(optimizer.learning_rate) == 0.25
    assert int(optimizer.iterations) == 1


def test_saved_models_that_do_not_fit():
    models.build("cnn", IMAGES).save("images.keras")
    message = rejected(models.build, "images.keras", VECTORS)
    assert "(8, 8, 1)" in message
    assert "(20,)" in message
    even = replace(IMAGES, y=(IMAGES.y % 2).astype(np.float32), target="binary", class_names=("even", "odd"))
    message = rejected(models.build, "images.keras", even)
    assert "(rows, 10)" in message
    assert "(rows, 1) or (rows, 2)" in message


def test_files_that_are_no_model():
    models.build("logistic", VECTORS).save("good.keras")
    content = Path("good.keras").read_bytes()
    Path("cut.keras").write_bytes(content[: len(content) // 2])
    Path("damaged.keras").write_bytes(content[:200] + b"\0" * 100 + content[300:])
    Path("text.keras").write_text("hello")
    Path("empty.keras").touch()
    Path("folder.keras").mkdir()
    with zipfile.ZipFile("other.keras", "w") as file:
        file.writestr("a", "b")
    for name, part in [
        ("cut.keras", "no .keras file"),
        ("damaged.keras", "could not be loaded"),
        ("text.keras", "no .keras file"),
        ("empty.keras", "is empty"),
        ("folder.keras", "is a directory"),
        ("other.keras", "could not be loaded"),
        ("god.keras", "Did you mean 'good.keras'?"),
    ]:
        message = rejected(models.build, name, VECTORS)
        assert name in message
        assert part in message


def test_python_code_in_a_file_is_not_run():
    def harm(x):
        Path("harm").touch()
        return x

    keras.Sequential([keras.Input((20,)), layers.Lambda(lambda x: harm(x)), layers.Dense(1)]).save("code.keras")
    Path("harm").unlink()
    assert "Python code (a Lambda layer)" in rejected(models.build, "code.keras", VECTORS)
    assert not Path("harm").exists()


def test_a_file_that_names_another_file_is_not_taken_for_one_with_code():
    Path("lambda.txt").write_text("a\nb\n", encoding="utf-8")
    keras.Sequential([keras.Input((1,), dtype="string"), layers.StringLookup(vocabulary=["a", "b"])]).save("own.keras")
    with zipfile.ZipFile("own.keras") as own, zipfile.ZipFile("words.keras", "w") as other:
        for name in own.namelist():
            text = own.read(name)
            if name == "config.json":
                config = json.loads(text)
                config["config"]["layers"][1]["config"]["vocabulary"] = str(Path("lambda.txt").resolve())
                text = json.dumps(config)
            other.writestr(name, text)
    assert "words.keras could not be loaded: ValueError: Requested the loading of a vocabulary file" in rejected(
        models.build, "words.keras", VECTORS
    )


MODULE = """
import keras
from keras import layers

def built(): return keras.Sequential([keras.Input((20,)), layers.Dense(1)])
def unbuilt(units=1): return keras.Sequential([layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(units)])
def for_data(dataset): return keras.Sequential([keras.Input(dataset.row_shape), layers.Dense(dataset.classes or 1)])
def compiled():
    model = built()
    model.compile("sgd", loss="mse")
    return model

class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x)

def wide(): return keras.Sequential([layers.Dense(7)])
def narrow(): return keras.Sequential([keras.Input((3,)), layers.Dense(1)])
def two_inputs():
    a, b = keras.Input((20,)), keras.Input((20,))
    return keras.Model([a, b], layers.Dense(1)(a + b))
def two_outputs():
    a = keras.Input((20,))
    return keras.Model(a, [layers.Dense(1)(a), layers.Dense(1)(a)])
def convolution(): return keras.Sequential([layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(1)])
def layer(): return layers.Dense(1)
def failing(dataset): raise RuntimeError("no memory")
def wanting(dataset, more): pass
"""


@pytest.mark.parametrize("name", ["built", "unbuilt", "for_data", "Subclass", "compiled"])
def test_a_model_of_the_users(name):
    Path("own_models.py").write_text(MODULE)
    model = models.build(f"own_models.py:{name}", VECTORS)
    assert model.built
    assert model.weights
    assert model.compiled == (name == "compiled")
    assert model(VECTORS.x).shape == (20, 2 if name == "for_data" else 1)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wide", ["(rows, 7)", "2 classes", "(rows, 1) or (rows, 2)"]),
        ("narrow", ["(3,)", "(20,)"]),
        ("two_inputs", ["several inputs", "(20,)"]),
        ("two_outputs", ["several outputs"]),
        ("convolution", ["shape unknown", "(20,)"]),
        ("layer", ["must give a keras.Model", "Dense"]),
        ("failing", ["RuntimeError: no memory (own_models.py, line "]),
        ("wanting", ["requires 2 arguments", "1 at most"]),
        ("bilt", ["Did you mean 'built'?"]),
    ],
)
def test_a_model_of_the_users_that_is_wrong(name, parts):
    Path("own_models.py").write_text(MODULE)
    message = rejected(models.build, f"own_models.py:{name}", VECTORS)
    for part in parts:
        assert part in message


def test_a_name_that_is_wrong():
    message = rejected(models.build, "mpl", VECTORS)
    for part in ("unknown model 'mpl'", "Did you mean 'mlp'?", "cnn", ".keras", "module:function"):
        assert part in message
