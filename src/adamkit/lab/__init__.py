"""Experiments with Adam: train a model, or hundreds at once, and see what each epoch and each hyperparameter does.

The lab runs on Keras's JAX backend unless `KERAS_BACKEND` says otherwise or Keras is already imported.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamkit.lab.sweeper import SweepResult, sweep
    from adamkit.lab.trainer import TrainResult, train

os.environ.setdefault("KERAS_BACKEND", "jax")

_MODULES = {"SweepResult": "sweeper", "TrainResult": "trainer", "sweep": "sweeper", "train": "trainer"}
__all__ = ["SweepResult", "TrainResult", "sweep", "train"]


def __getattr__(name: str) -> Any:
    """Import Keras only when a model is trained."""
    if name in __all__:
        return getattr(import_module(f"adamkit.lab.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'adamkit.lab' has no attribute {name!r}")
