"""Models to train, by name, and the loss and metrics that fit what they predict."""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab import files, references
from adamkit.lab.data import Dataset
from adamkit.lab.errors import InputError, listed, nearest, reason

if TYPE_CHECKING:
    import keras

# By the kind of target: the losses and metrics that take its labels (rows,) and its outputs (rows, outputs), the
# default first. Keras's metrics `binary_crossentropy`, `hinge` and `r2_score` want labels (rows, 1): they fail, or are
# wrong without a word. `poisson` is NaN for an output below 0.
_LOSSES = {
    "binary": (
        *("binary_crossentropy", "binary_focal_crossentropy", "hinge", "squared_hinge"),
        *("mse", "mae", "huber", "log_cosh"),
    ),
    "classes": ("sparse_categorical_crossentropy",),
    "number": ("mse", "mae", "huber", "log_cosh", "mape", "msle"),
}
_METRICS = {
    "binary": (
        *("accuracy", "binary_accuracy", "auc", "precision", "recall", "mse", "mae", "root_mean_squared_error"),
        *("true_positives", "true_negatives", "false_positives", "false_negatives"),
    ),
    "classes": (
        *("accuracy", "sparse_categorical_accuracy", "sparse_categorical_crossentropy"),
        "sparse_top_k_categorical_accuracy",
    ),
    "number": ("mae", "mse", "root_mean_squared_error", "log_cosh_error", "mape", "msle"),
}
_ACCURACY = ("accuracy", "acc")  # Keras picks the one that fits the output
_CROSSENTROPY = ("crossentropy", "ce")


def build(name: str, dataset: Dataset) -> "keras.Model":
    """The model that `name` names, for the rows and the target of `dataset`.

    Its weights exist on return. They come from Keras's random state: call `keras.utils.set_random_seed` before.

    Args:
        name: One of

            - `mlp`: the example's. `Dense(64, relu)` and the output layer; rows that are no vectors are flattened.
            - `logistic`: the output layer alone, which is logistic, softmax or linear regression.
            - `cnn`: two blocks of a 3 by 3 convolution and pooling, of 32 and 64 channels, and the output layer, for
              images (height, width) or (height, width, channels).
            - A `.keras` file. One with Python code in it (a Lambda layer) is refused. If it was saved compiled, it is
              returned compiled.
            - `module:function` or `file.py:function`: a function that returns a model, given the data set if it has a
              required argument. The current directory can be imported from.

            The output layer is `Dense(1, sigmoid)` for a "binary" target, `Dense(classes, softmax)` for "classes" and
            `Dense(1)` for a "number". A model of the user's must have as many outputs, or two for a "binary" target.
        dataset: What it is to be trained on.

    Returns:
        A model (rows, …) -> (rows, outputs), not compiled unless the user's own is.

    Raises:
        InputError: There is no such model, or it does not fit the data.

    Example:
        >>> from adamkit.lab import data
        >>> build("mlp", data.load("random")).count_params()
        1409
    """
    if name in _BUILDERS:
        return _BUILDERS[name](dataset)
    if Path(name).suffix.lower() == ".keras":
        return _fitting(_loaded(Path(name)), name, dataset)
    if references.is_reference(name):
        return _fitting(references.call(name, dataset), name, dataset)
    accepted = f"{listed(NAMES)}, a .keras file, module:function or file.py:function"
    raise InputError(f"unknown model {name!r}.{nearest(name, NAMES)} Accepted: {accepted}")


def objective(
    dataset: Dataset,
    loss: str | None = None,
    metrics: Sequence[str] | None = None,
    *,
    model: "keras.Model | None" = None,
) -> tuple[str, list[str]]:
    """The loss and the metrics to compile a model with.

    Args:
        dataset: What it is to be trained on.
        loss: Keras's name of a loss. None: `binary_crossentropy` for a "binary" target, `mse` for a "number",
            `sparse_categorical_crossentropy` for "classes" and for a "binary" target of a model with two outputs.
        metrics: Keras's names of metrics. None: `mae` for a "number", else `accuracy`.
        model: The model, if it is the user's own, since it may have two outputs for a "binary" target.

    Returns:
        The loss and the list of metrics, by the names that Keras knows them by and that the user gave.

    Raises:
        InputError: Keras knows no such loss or metric, or it does not fit the target.

    Example:
        >>> from adamkit.lab import data
        >>> objective(data.load("random"))
        ('binary_crossentropy', ['accuracy'])
    """
    kind = dataset.target
    if kind == "binary" and model is not None and model.output_shape[-1] == 2:
        kind = "classes"
    by_default = loss is None or (loss in _CROSSENTROPY and kind != "number")
    losses = _LOSSES[kind][:1] if by_default else (str(loss),)
    names = _METRICS[kind][:1] if metrics is None else tuple(dict.fromkeys(metrics))
    _check_names("loss", losses, _LOSSES, kind, dataset)
    _check_names("metric", names, _METRICS, kind, dataset)
    return losses[0], list(names)


def _check_names(
    what: str, names: Sequence[str], fitting: dict[str, tuple[str, ...]], kind: str, dataset: Dataset
) -> None:
    import keras

    module = keras.losses if what == "loss" else keras.metrics
    accepted = {_key(module.get(name)) for name in fitting[kind] if name not in _ACCURACY}
    for name in names:
        if what == "metric" and name in _ACCURACY and kind != "number":
            continue
        try:
            known = name in _ACCURACY or module.get(name)
        except ValueError as error:
            choices = [*fitting[kind], *(n for n in dir(module) if _key_of_name(n) in accepted)]
            raise InputError(
                f"unknown {what} {name!r}.{nearest(name, choices)} Those that fit: {listed(fitting[kind])}"
            ) from error
        except TypeError:  # a metric whose class needs arguments
            known = None
        if known is None or known is True or _key(known) not in accepted:
            raise InputError(
                f"the {what} {name!r} does not fit {_described(dataset)}. Those that fit: {listed(fitting[kind])}"
            )


def _key(found: Any) -> str:
    """One key for `mse`, `mean_squared_error` and `MeanSquaredError`."""
    return _key_of_name(getattr(found, "__name__", None) or type(found).__name__)


def _key_of_name(name: str) -> str:
    return name.replace("_", "").lower()


def _described(dataset: Dataset) -> str:
    if dataset.target == "number":
        return "a target that is a number"
    labels = "0 or 1" if dataset.classes == 2 else f"the integers 0 … {(dataset.classes or 0) - 1}"
    return f"a target of {dataset.classes} classes, whose labels are {labels}"


def _mlp(dataset: Dataset) -> "keras.Model":
    from keras import layers

    return _sequential(dataset, *_flattened(dataset), layers.Dense(64, activation="relu"), _output(dataset))


def _logistic(dataset: Dataset) -> "keras.Model":
    return _sequential(dataset, *_flattened(dataset), _output(dataset))


def _cnn(dataset: Dataset) -> "keras.Model":
    from keras import layers

    shape = dataset.row_shape
    if len(shape) not in (2, 3):
        raise InputError(
            f"the model cnn needs images, rows of shape (height, width) or (height, width, channels). "
            f"The rows of {dataset.name} have shape {shape}; mlp and logistic fit them"
        )
    blocks = []
    for channels in (32, 64):
        blocks.append(layers.Conv2D(channels, 3, padding="same", activation="relu"))
        blocks.append(layers.MaxPooling2D(2, padding="same"))
    with_channels = [layers.Reshape((*shape, 1))] if len(shape) == 2 else []
    return _sequential(dataset, *with_channels, *blocks, layers.Flatten(), _output(dataset))


def _sequential(dataset: Dataset, *layers: "keras.Layer") -> "keras.Model":
    import keras

    return keras.Sequential([keras.Input(dataset.row_shape), *layers])


def _flattened(dataset: Dataset) -> "list[keras.Layer]":
    from keras import layers

    return [layers.Flatten()] if len(dataset.row_shape) > 1 else []


def _output(dataset: Dataset) -> "keras.Layer":
    from keras import layers

    activation = {"binary": "sigmoid", "classes": "softmax", "number": None}[dataset.target]
    return layers.Dense(_outputs(dataset), activation=activation)


def _outputs(dataset: Dataset) -> int:
    return dataset.classes or 1 if dataset.target == "classes" else 1


def _loaded(path: Path) -> Any:
    import keras

    import adamkit.keras  # noqa: F401  a model that was compiled with its Adam needs it registered

    files.check_file(path, (".keras",))
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .keras file, as model.save writes it")
    try:
        with warnings.catch_warnings():
            # A model that was compiled and not trained is as good.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.models.load_model(path, safe_mode=True)
    except Exception as error:  # Keras raises all sorts
        if "safe_mode" in str(error):
            raise InputError(
                f"{path} holds Python code (a Lambda layer), which is not run: write a function that builds the model, "
                "and name it by module:function or file.py:function"
            ) from error
        raise InputError(f"{path} could not be loaded: {reason(error)}") from error


def _fitting(model: Any, name: str, dataset: Dataset) -> "keras.Model":
    """`model`, built, if it is one that takes the rows and gives what the target needs."""
    import keras

    if not isinstance(model, keras.Model):
        raise InputError(f"{name} must give a keras.Model. Received: {type(model).__name__}")
    rows = keras.KerasTensor((None, *dataset.row_shape), dtype="float32")
    try:
        if not model.built:
            model(rows)  # symbolically: it only builds
        output = model.compute_output_spec(rows)
    except Exception as error:  # Keras's and the backend's own, for a shape that does not fit
        raise InputError(
            f"the model {name} takes rows of shape {_input_shape(model)}, and does not fit those of {dataset.name}, of "
            f"shape {dataset.row_shape}: {reason(error)}"
        ) from error
    accepted = [(None, 1), (None, 2)] if dataset.target == "binary" else [(None, _outputs(dataset))]
    shape = getattr(output, "shape", None)
    if shape not in accepted:
        given = "several outputs" if shape is None else f"an output of shape {_rows(shape)}"
        raise InputError(
            f"the model {name} has {given}, and {_described(dataset)} needs {' or '.join(map(_rows, accepted))}"
        )
    return model


def _rows(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join(['rows', *map(str, shape[1:])])})"


def _input_shape(model: "keras.Model") -> str:
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):  # a subclass of keras.Model has none before it is built
        return "unknown"
    return str(shape[1:]) if isinstance(shape, tuple) else f"{listed(shape)} (several inputs)"


_BUILDERS: dict[str, Callable[[Dataset], "keras.Model"]] = {"mlp": _mlp, "logistic": _logistic, "cnn": _cnn}
NAMES = tuple(_BUILDERS)
