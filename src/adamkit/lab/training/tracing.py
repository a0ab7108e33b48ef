"""What a step of a model does, read off its trace: nothing is computed and nothing compiled."""

import threading
import warnings
from typing import Any

import jax
import keras

from adamkit.lab.training.figures import figures

TRACING = threading.Lock()  # a step is traced with parts of Keras and of its optimizer replaced: one at a time


def reported(model: keras.Model, batch: Any, *, test: bool = False) -> list[str]:
    """The names of the figures that a step reports.

    Args:
        model: Compiled and built.
        batch: Some rows: (x, y, sample weights).
        test: Those of a step of `evaluate` rather than of one of `fit`.
    """
    step = "test_step" if test else "train_step"
    if getattr(type(model), step) is getattr(keras.Model, step):
        return list(figures(model.get_metrics_result()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what is no number; the training itself warns of it
        return list(_traced(model, step, batch)[0])


def left_alone(model: keras.Model, batch: Any) -> list[bool]:
    """Which of `non_trainable_variables` a training step leaves as they are.

    Those are what layers have adapted to and the weights of frozen layers; a moving average is not, nor is the state of
    random numbers.
    """
    if not model.non_trainable_weights:  # of random numbers alone
        return [False] * len(model.non_trainable_variables)
    return _traced(model, "train_step", batch)[1]


def _traced(model: keras.Model, step: str, batch: Any) -> tuple[dict[str, Any], list[bool]]:
    """The figures of a step as shapes, and whether each non-trainable variable comes out as it went in."""
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    trainable, non_trainable, optimizer, metrics = ([v.value for v in group] for group in groups)
    same: list[bool] = []

    def traced(trainable, non_trainable, optimizer, metrics, batch):
        state = (trainable, non_trainable, optimizer, metrics)
        state = state if step == "train_step" else (trainable, non_trainable, metrics)
        logs, after = getattr(model, step)(state, batch)
        same.extend(own is new for own, new in zip(non_trainable, after[1], strict=True))
        return figures(logs)

    with TRACING:
        logs = jax.eval_shape(traced, trainable, non_trainable, optimizer, metrics, batch)
    return logs, same
