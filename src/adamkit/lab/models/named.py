"""Models to train, by name."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab import references
from adamkit.lab.data import Dataset, files
from adamkit.lab.errors import InputError, listed, nearest, reason
from adamkit.lab.models.objectives import described

if TYPE_CHECKING:
    import keras


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
        return _fitting(load(Path(name)), name, dataset)
    if references.is_reference(name):
        return _fitting(references.call(name, dataset), name, dataset)
    accepted = f"{listed(NAMES)}, a .keras file, module:function or file.py:function"
    raise InputError(f"unknown model {name!r}.{nearest(name, NAMES)} Accepted: {accepted}")


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


def load(path: Path) -> Any:
    """The model in a `.keras` file; InputError where it is none, or has Python code in it."""
    import keras

    import adamkit.keras  # noqa: F401  a model that was compiled with its Adam needs it registered

    files.check_file(path, (".keras",))
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .keras file, as model.save writes it")
    files.check_unpacked(path)
    try:
        with warnings.catch_warnings():
            # A model that was compiled and not trained is as good.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.models.load_model(path, safe_mode=True)
    except Exception as error:  # Keras raises all sorts
        if "Python lambda" in str(error):
            raise InputError(
                f"{path} holds Python code (a Lambda layer), which is not run: write a function that builds the model, "
                "and name it by module:function or file.py:function"
            ) from error
        met: BaseException = error
        while "Exception encountered: " in str(met) and met.__context__:  # Keras wraps it in the configuration
            met = met.__context__
        raise InputError(f"{path} could not be loaded: {reason(met)}") from error


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
            f"the model {name} has {given}, and {described(dataset)} needs {' or '.join(map(_rows, accepted))}"
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
