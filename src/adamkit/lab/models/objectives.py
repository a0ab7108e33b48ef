"""The loss and the metrics that fit a target."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adamkit.lab.data import Dataset
from adamkit.lab.errors import InputError, listed, nearest

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
                f"the {what} {name!r} does not fit {described(dataset)}. Those that fit: {listed(fitting[kind])}"
            )


def _key(found: Any) -> str:
    """One key for `mse`, `mean_squared_error` and `MeanSquaredError`."""
    return _key_of_name(getattr(found, "__name__", None) or type(found).__name__)


def _key_of_name(name: str) -> str:
    return name.replace("_", "").lower()


def described(dataset: Dataset) -> str:
    """The kind of target, in words for an error message."""
    if dataset.target == "number":
        return "a target that is a number"
    labels = "0 or 1" if dataset.classes == 2 else f"the integers 0 … {(dataset.classes or 0) - 1}"
    return f"a target of {dataset.classes} classes, whose labels are {labels}"
