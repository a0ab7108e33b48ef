"""One training and one sweep of a small model, sent to every tool at once, and where each has them."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab import logs

X = np.random.default_rng(0).random((32, 2)).astype("float32")
Y = X.sum(axis=1)
EPOCHS = 3


@pytest.fixture(scope="package", autouse=True)
def environment(tmp_path_factory):
    """Nothing leaves this machine, and TensorBoard's readers do without TensorFlow, which takes seconds to import."""
    folder = tmp_path_factory.mktemp("tools")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
        yield folder


def compiled(learning_rate=0.1):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="line")
    model.compile(optimizer=Adam(learning_rate), loss="mse")
    return model


@dataclass
class Sent:
    trained: pd.DataFrame
    swept: lab.SweepResult
    folder: Path


@pytest.fixture(scope="package")
def sent(environment):
    tools = [logs.TensorBoard(environment / "board"), logs.MLflow(), logs.WandB()]
    trained = lab.train(compiled(), X, Y, epochs=EPOCHS, folder=environment / "one", log=tools)
    swept = lab.sweep(
        compiled(), X, Y,
        space={"learning_rate": [0.1, 0.01]}, epochs=EPOCHS, seeds=2,
        folder=environment / "many", report=False, log=tools,
    )  # fmt: skip
    return Sent(trained.history, swept, environment)
