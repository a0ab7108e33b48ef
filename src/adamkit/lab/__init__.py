"""Experiments with Adam: train a model, or hundreds at once, and see what each epoch and each hyperparameter does.

The lab runs on Keras's JAX backend unless `KERAS_BACKEND` says otherwise or Keras is already imported.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamkit.lab import data, insight, logs, models, runs
    from adamkit.lab.comparing.audit import audit
    from adamkit.lab.comparing.audited import Audit
    from adamkit.lab.comparing.compare import compare
    from adamkit.lab.comparing.result import Comparison
    from adamkit.lab.insight.check import check
    from adamkit.lab.runs.predictions import predict
    from adamkit.lab.sweeping import spaces
    from adamkit.lab.sweeping.cluster import Ray
    from adamkit.lab.sweeping.sweeper import SweepResult, sweep
    from adamkit.lab.sweeping.tune import TuneResult, tune
    from adamkit.lab.training.trainer import TrainResult, train
    from adamkit.play.notebook import play

os.environ.setdefault("KERAS_BACKEND", "jax")

_MODULES = {
    "data": "data",
    "insight": "insight",
    "logs": "logs",
    "models": "models",
    "runs": "runs",
    "spaces": "sweeping.spaces",
}
_PLACES = {
    "Audit": "comparing.audited",
    "Comparison": "comparing.result",
    "Ray": "sweeping.cluster",
    "SweepResult": "sweeping.sweeper",
    "TrainResult": "training.trainer",
    "TuneResult": "sweeping.tune",
    "audit": "comparing.audit",
    "check": "insight.check",
    "compare": "comparing.compare",
    "predict": "runs.predictions",
    "sweep": "sweeping.sweeper",
    "train": "training.trainer",
    "tune": "sweeping.tune",
}
__all__ = [
    "Audit",
    "Comparison",
    "Ray",
    "SweepResult",
    "TrainResult",
    "TuneResult",
    "audit",
    "check",
    "compare",
    "data",
    "insight",
    "logs",
    "models",
    "play",
    "predict",
    "runs",
    "spaces",
    "sweep",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import Keras only when a model is trained."""
    if name in _MODULES:
        return import_module(f"adamkit.lab.{_MODULES[name]}")
    if name == "play":  # a room above this one, whose page trains by the lab
        return import_module("adamkit.play.notebook").play
    if name in _PLACES:
        return getattr(import_module(f"adamkit.lab.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'adamkit.lab' has no attribute {name!r}")
