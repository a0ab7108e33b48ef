"""Compare optimizers on one model, each tuned alike."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import keras

from adamkit.keras.internals import build_for
from adamkit.lab.claims import claimed
from adamkit.lab.comparing.checks import Check
from adamkit.lab.comparing.optimizers import Optimizer, checked
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.comparing.tuning import Found, Progress, Tuning
from adamkit.lab.errors import InputError
from adamkit.lab.interrupts import ctrl_c_asks
from adamkit.lab.logs.own_models import files_left, name_of
from adamkit.lab.logs.tables import send_comparison
from adamkit.lab.logs.tool import Tool
from adamkit.lab.logs.tool import checked as checked_tools
from adamkit.lab.sweeping.executors import Executor
from adamkit.lab.training.trainer import (
    check_count,
    check_model,
    check_on_jax,
    checked_data,
    part_of,
    split_off,
)

DEFAULT = "adam,adamw,amsgrad,nadam,rmsprop,adagrad,sgd,momentum,lion"


def compare(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    optimizers: str | Iterable[str | Optimizer] = DEFAULT,
    budget: int = 32,
    epochs: int,
    batch_size: int = 32,
    validation_data: tuple | None = None,
    validation_split: float = 0.2,
    test_data: tuple | None = None,
    test_split: float = 0.2,
    seeds: int = 5,
    objective: str | None = None,
    goal: float | None = None,
    check: bool = False,
    shuffle: bool = True,
    seed: int = 0,
    memory: int | None = None,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    log: Tool | Iterable[Tool] = (),
) -> Comparison:
    """Compare optimizers on a compiled Keras model, each tuned alike.

    Every optimizer gets the same number of settings from a space of its own (`adamkit.lab.comparing.optimizers`), the
    same starts, the same order of the data and the same number of epochs. Settings are chosen on the validation part,
    and what is reported was measured on a test part that chose nothing. Needs Keras's JAX backend.

    Args:
        model: Compiled; its loss and metrics are used, its optimizer is not, and it is left as it is. Its class must
            have `get_config`, so that it can be made again with other starts.
        x: Inputs: an array (rows, …), or a list, tuple or dictionary of them.
        y: Targets, likewise.
        optimizers: Names with commas between them, or a list of names or `Optimizer`s. A name is one of `adam`,
            `adamw`, `amsgrad`, `nadam`, `radam`, `cautious`, `blockwise`, `adopt`, `schedule-free`, `auto`, `adamax`,
            `rmsprop`, `adagrad`, `adadelta`, `sgd`, `momentum`, `nesterov` and `lion`, or a class of
            `keras.optimizers`; behind it may stand `+cosine`, `+ema` and `+weight-decay`.
        budget: Settings of each optimizer, >= 1; best a power of 2.
        epochs: How often each run goes through the data, >= 1.
        batch_size: Rows a step.
        validation_data: `(x, y)` or `(x, y, sample_weight)` that settings are chosen on. None: a share of the rows.
        validation_split: That share, 0 < share < 1, of the rows that the test part leaves: the last of them.
        test_data: `(x, y)` or `(x, y, sample_weight)` that results are reported on. None: a share of the rows.
        test_split: That share, 0 < share < 1: the last rows. Rows that are sorted must be shuffled before.
        seeds: Runs of each of the 4 best settings of an optimizer, with a start and an order of the rows of their own.
        objective: What settings are chosen by, at the last epoch: a validation column of the history that is to be
            small, or, with a minus, large (`"-val_accuracy"`). Default: `"val_loss"`.
        goal: A value of the objective: the epochs and seconds that each optimizer takes to it are reported. Default:
            what half of the optimizers reach.
        check: Also put momentum's best setting into Adam's space and Adam's best into AMSGrad's, where these are
            compared: an optimizer that contains another loses to it only if it was tuned too little (Choi et al. 2019).
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of the order, of the starts and of the settings.
        memory: Bytes that the runs at work may take. Default: half of what is free.
        folder: Where to keep the comparison: `run.json`, `history.parquet`, `runs.parquet`, `summary.csv`, and what is
            needed to go on. If it holds a part of this very comparison, that is not run again. None: nowhere.
        executor: Who trains, as in `adamkit.lab.sweep`. What runs reach at their end is measured on this machine, and
            so are the seconds that an epoch takes.
        on_progress: Called in this thread, a few times a second at most.
        log: Where to keep the comparison too when it has ended, each run of it within one: tools of `adamkit.lab.logs`,
            one or several. One that is not installed or fails is a RuntimeWarning.

    Returns:
        The figures, the verdict in sentences, and the history of all runs.

    Raises:
        TypeError: `model` is no Keras model, or an argument has the wrong type.
        ValueError: An argument is out of range, or arrays differ in their number of rows. An `InputError`, a
            ValueError, where an optimizer is unknown, or none of them can be mapped over members.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.compare(model, x, x.sum(axis=1), optimizers="adam,sgd", budget=4, epochs=2, seeds=2)
        >>> sorted(result.summary.optimizer)
        ['adam', 'sgd']
    """
    check_on_jax("compare")
    chosen, tools = checked(optimizers), checked_tools(log)
    if goal is not None and not math.isfinite(goal):
        raise InputError(f"goal must be a finite number. Received: goal={goal!r}")
    parts, options = checked_task(
        model, x, y, validation_data=validation_data, validation_split=validation_split, test_data=test_data,
        test_split=test_split, budget=budget, seeds=seeds, epochs=epochs, batch_size=batch_size, objective=objective,
        shuffle=shuffle, seed=seed,
    )  # fmt: skip
    tuning = Tuning(model, parts, chosen, budget, seeds, options, memory, folder, on_progress, executor)
    found, failures, checks = run(tuning, folder, check=check)
    comparison = Comparison.of(found, tuning.described(failures) | {"goal": goal, "checks": checks})
    keep(comparison, "compare", {"model": model.name, "budget": budget, "seeds": seeds, **options}, folder, tools)
    return comparison


def checked_task(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: tuple | None,
    validation_split: float,
    test_data: tuple | None,
    test_split: float,
    budget: int,
    seeds: int,
    epochs: int,
    batch_size: int,
    objective: str | None,
    shuffle: bool,
    seed: int,
) -> tuple[tuple[Any, Any, Any], dict[str, Any]]:
    """The arguments that `compare` and `audit` share, checked, and the model built.

    Returns:
        The rows to train on, to choose on and to report on; and the options of each sweep.
    """
    check_model(model)
    for name, value in (("budget", budget), ("epochs", epochs), ("batch_size", batch_size), ("seeds", seeds)):
        check_count(name, value)
    for name, value in (("validation_split", validation_split), ("test_split", test_split)):
        if not 0 < value < 1:
            raise InputError(f"{name} must be > 0 and < 1. Received: {name}={value!r}")
    objective = objective or "val_loss"
    if not objective.removeprefix("-").startswith("val_"):
        raise InputError(f"objective must be of the validation part: val_loss, -val_accuracy … Received: {objective!r}")
    parts = _three_parts(x, y, validation_data, validation_split, test_data, test_split)
    build_for(model, jax.tree.map(lambda rows: rows[:batch_size], parts[0]))
    return parts, {
        "epochs": epochs, "batch_size": batch_size, "objective": objective, "shuffle": shuffle, "seed": seed,
        "same_start": True, "same_order": True, "halving": None, "patience": None,
    }  # fmt: skip


def run(tuning: Tuning, folder: str | Path | None, *, check: bool) -> tuple[list[Found], dict[str, str], list[Check]]:
    """`tuning.run`, by the one process at a time that works in the folder; Ctrl-C ends it early."""
    with contextlib.nullcontext() if folder is None else claimed(Path(folder)), ctrl_c_asks(tuning):
        return tuning.run(check=check)


def keep(result: Any, kind: str, made_from: dict[str, Any], folder: str | Path | None, tools: Any) -> None:
    """Save what was found in the folder, if there is one, and send it to tools, as `logs.tables.send_comparison`."""
    if folder is not None:
        result.save(folder)
    if tools and len(result.history):
        with files_left(_warn, result.history, result.summary) as files:
            send_comparison(tools, name_of(kind, folder), made_from, result, files, _warn)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _three_parts(x, y, validation_data, validation_split, test_data, test_split) -> tuple[Any, Any, Any]:
    """The rows to train on, to choose on and to report on; the last rows are split off, as Keras does."""
    data, _ = checked_data(x, y, None, 0.0)
    if test_data is None:
        data, test = split_off(data, test_split, "test_split")
    else:
        test = part_of("test_data", test_data)
    if validation_data is None:
        data, validation = split_off(data, validation_split, "validation_split")
    else:
        validation = part_of("validation_data", validation_data)
    return data, validation, test
