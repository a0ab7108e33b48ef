"""Audit optimizers that nobody tunes: where each stands among many settings of Adam, on one model."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from adamkit.lab.comparing.audited import Audit
from adamkit.lab.comparing.compare import checked_task, keep, run
from adamkit.lab.comparing.optimizers import OPTIMIZERS, Optimizer, checked
from adamkit.lab.comparing.tuning import GRID, Progress, Tuning
from adamkit.lab.errors import InputError
from adamkit.lab.logs.tool import Tool
from adamkit.lab.logs.tool import checked as checked_tools
from adamkit.lab.sweeping.executors import Executor
from adamkit.lab.training.trainer import check_on_jax

DEFAULT, BUDGET = "adam,schedule-free,auto", 256


def audit(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    optimizers: str | Iterable[str | Optimizer] = DEFAULT,
    budget: int = BUDGET,
    epochs: int,
    batch_size: int = 32,
    validation_data: tuple | None = None,
    validation_split: float = 0.2,
    test_data: tuple | None = None,
    test_split: float = 0.2,
    seeds: int = 5,
    objective: str | None = None,
    shuffle: bool = True,
    seed: int = 0,
    memory: int | None = None,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    log: Tool | Iterable[Tool] = (),
) -> Audit:
    """Say what it costs not to tune: where optimizers with their defaults stand among many settings of Adam.

    The grid is `budget` settings from the space that `adamkit.lab.compare` gives `adam`. Each of them is trained with
    all seeds, and so is each optimizer with the defaults of its class: the same starts, the same order of the data and
    the same number of epochs. What is reported was measured on a test part that chose nothing. Needs Keras's JAX
    backend.

    Args:
        model: As in `adamkit.lab.compare`.
        x: Inputs, likewise.
        y: Targets, likewise.
        optimizers: Names, or `Optimizer`s, likewise. Untuned is what the class does without a number, with the
            switches of the name; `momentum` and `nesterov` have μ = 0.9, and `adamw` and `+weight-decay` λ = 0.004,
            where the class would have none.
        budget: Settings of the grid, >= 1; best a power of 2.
        epochs: How often each run goes through the data, >= 1.
        batch_size: Rows a step.
        validation_data: As in `adamkit.lab.compare`; so are the next three. The setting that tuning keeps is chosen on
            the validation part.
        validation_split: …
        test_data: …
        test_split: …
        seeds: Runs of each setting of the grid and of each optimizer, with a start and an order of the rows each; the
            first start is the model as it stands.
        objective: What is to be small, as in `adamkit.lab.compare`. Default: `"val_loss"`.
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of the order, of the starts and of the settings.
        memory: Bytes that the runs at work may take. Default: half of what is free.
        folder: Where to keep the audit: `run.json`, `audit.json`, `history.parquet`, `runs.parquet`, `summary.csv`,
            `by_seed.csv`, and what is needed to go on. If it holds a part of this very audit, that is not run again.
            None: nowhere.
        executor: Who trains, as in `adamkit.lab.compare`; so are the next two.
        on_progress: …
        log: …

    Returns:
        The percentiles, the verdict in sentences, and the history of all runs.

    Raises:
        TypeError: `model` is no Keras model, or an argument has the wrong type.
        ValueError: An argument is out of range, or arrays differ in their number of rows. An `InputError`, a
            ValueError, where an optimizer is unknown, or the grid cannot be trained.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.audit(model, x, x.sum(axis=1), optimizers="adam", budget=4, epochs=2, seeds=2)
        >>> sorted(result.summary.optimizer)
        ['adam', 'tuned adam']
    """
    check_on_jax("audit")
    chosen, tools = checked(optimizers), checked_tools(log)
    if any(one.name == GRID for one in chosen):
        raise InputError(f"optimizers must have other names than that of the settings of Adam, {GRID!r}")
    parts, options = checked_task(
        model, x, y, validation_data=validation_data, validation_split=validation_split, test_data=test_data,
        test_split=test_split, budget=budget, seeds=seeds, epochs=epochs, batch_size=batch_size, objective=objective,
        shuffle=shuffle, seed=seed,
    )  # fmt: skip
    grid = dataclasses.replace(OPTIMIZERS["adam"], name=GRID)
    tuning = Tuning(
        model, parts, [grid, *chosen], budget, seeds, options, memory, folder, on_progress, executor, audited=True
    )
    found, failures, _ = run(tuning, folder, check=False)
    if GRID in failures:
        raise InputError(failures[GRID])
    result = Audit.of(found, tuning.described(failures))
    keep(result, "audit", {"model": model.name, "budget": budget, "seeds": seeds, **options}, folder, tools)
    return result
