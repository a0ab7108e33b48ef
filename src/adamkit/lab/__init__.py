"""Experiments with Adam: train a model and see what each epoch and each hyperparameter does.

The lab runs on Keras's JAX backend unless `KERAS_BACKEND` says otherwise or Keras is already imported.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamkit.lab.trainer import TrainResult, train

os.environ.setdefault("KERAS_BACKEND", "jax")

__all__ = ["TrainResult", "train"]


def __getattr__(name: str) -> Any:
    """Import Keras only when a model is trained."""
    if name in __all__:
        return getattr(import_module("adamkit.lab.trainer"), name)
    raise AttributeError(f"module 'adamkit.lab' has no attribute {name!r}")
