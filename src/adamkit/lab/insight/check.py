"""What commonly goes wrong with Adam, found in a model that trains a little, or in a run's folder."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from adamkit import findings
from adamkit.findings import Finding
from adamkit.keras import Watch
from adamkit.keras.internals import build_for, without_scaler
from adamkit.lab import runs
from adamkit.lab.disk import CHECKPOINTS
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.training import checkpoints
from adamkit.lab.training.trainer import check_count, check_model, checked_data

_STEPS = 2  # of which the second is looked at: before the first there are no moments


def check(model: keras.Model, x: Any, y: Any, *, epochs: int = 5, batch_size: int = 32) -> list[Finding]:
    """Train a compiled model a little, and say what commonly goes wrong with Adam and shows already.

    The model and its optimizer are as before when this returns.

    Args:
        model: Compiled with an Adam.
        x: Inputs, as in `adamkit.lab.train`; so are the next three.
        y: …
        epochs: …
        batch_size: …

    Returns:
        The findings, none where all is well: `kind`, `where`, `figure`, `says`, `remedy`.

    Raises:
        TypeError: The optimizer is no Adam, or the data are no arrays.
        ValueError: The model is not compiled, or an argument is out of range.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(learning_rate=1e-9), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> "small-steps" in [finding.kind for finding in lab.check(model, x, x.sum(axis=1), epochs=1)]
        True
    """
    check_model(model)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    data, _ = checked_data(x, y, None, 0.0)
    build_for(model, keras.tree.map_structure(lambda rows: None if rows is None else rows[:batch_size], data))
    variables = checkpoints.variables_of(model)
    before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
    watch = Watch(warn=False)
    try:
        options: Any = {"epochs": epochs, "batch_size": batch_size, "verbose": 0}
        model.fit(data[0], data[1], callbacks=[watch], **options)
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    return watch.found


def check_run(prepared: runs.Prepared, folder: RunFolder) -> list[Finding]:
    """What goes wrong in a run, from its losses and from two more steps, which are not kept.

    Args:
        prepared: Of the run's settings: `runs.prepare(runs.again(folder))`.
        folder: The run's.

    Raises:
        InputError: The folder has no history that can be read.
    """
    settings, train = prepared.settings, prepared.train
    losses = _losses(folder)
    found = _in_two_steps(prepared, folder)
    steps = len(losses) * math.ceil(len(train) / settings.batch_size)
    return [*found, *findings.of_run(losses, steps, settings.beta_2)]


def _losses(folder: RunFolder) -> Sequence[float]:
    history = folder.read_history()
    return history["loss"].to_list() if "loss" in history else []


def _in_two_steps(prepared: runs.Prepared, folder: RunFolder) -> list[Finding]:
    model, train, size = prepared.model, prepared.train, prepared.settings.batch_size
    rows = slice(0, _STEPS * size)
    x, y = train.x[rows], train.y[rows]
    build_for(model, (x[:size], y[:size], None))
    latest, _ = checkpoints.latest(folder.path / CHECKPOINTS)
    if latest is not None:
        checkpoints.restore(latest, model)
    watch = Watch(warn=False)
    options: Any = {"batch_size": size, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[watch], **options)
    of_run = {finding.kind for finding in findings.of_run([], 1, without_scaler(model.optimizer).beta_2)}
    return [finding for finding in watch.found if finding.kind not in of_run]
