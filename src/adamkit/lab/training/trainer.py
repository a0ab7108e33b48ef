"""Train one Keras model and keep what each epoch showed."""

import contextlib
import functools
import hashlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from adamkit.lab.errors import InputError, shown
from adamkit.lab.hyperparameters import BELOW
from adamkit.lab.interrupts import ctrl_c_asks
from adamkit.lab.logs.own_models import files_left, name_of, parameters_of
from adamkit.lab.logs.tool import DONE, INTERRUPTED, Tool, checked
from adamkit.lab.logs.watching import Watcher
from adamkit.lab.training import checkpoints, distributed
from adamkit.lab.training.arrays import as_arrays, type_of
from adamkit.lab.training.figures import figures
from adamkit.lab.training.keeping import Keeper, Observer, unsaved

Epoch = dict[str, float]  # one row of a history


@dataclass
class TrainResult:
    """What a training run gave.

    Attributes:
        history: One row an epoch: `epoch` (from 1), `loss` and each metric over the epoch's batches (and, where it is
            found while training, the `learning_rate` at its end), the same on the
            validation data with `val_` before the name, and `seconds` since the figures of the epoch before were there
            (the first includes compilation). Of a run that went on, the epochs before are there too.
        model: The trained model, the one that was given.
        seconds: The whole run; of one that went on, since then.
        interrupted: Whether Ctrl-C ended it before the last epoch.
        test: The loss and each metric of the trained model on the test part, where the run has one; else None.
        resumed_after: How many of the epochs were done before, in the folder that the run went on from; else 0.
    """

    history: pd.DataFrame
    model: keras.Model
    seconds: float
    interrupted: bool
    test: dict[str, float] | None = None
    resumed_after: int = 0

    def _repr_html_(self) -> str:
        """In a notebook: the last epochs and the loss over all of them."""
        from adamkit.lab.insight.charts import training as charts
        from adamkit.lab.insight.reports import notebook

        ended = "cut off after" if self.interrupted else "trained for"
        drawn = charts.charts_of(self.history)
        heading = f"{self.model.name}: {ended} {len(self.history)} epochs in {self.seconds:.3g} s; the last of them"
        return notebook.html(heading, self.history.tail(5), drawn.get("loss"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from adamkit.lab.insight.reports import notebook

        return notebook.bundle(self)


@dataclass
class _Run:
    """The epochs so far, and whether to stop after the one in progress."""

    epochs: int
    on_epoch: Callable[[Epoch], None]
    observer: Observer | None = None
    watcher: Watcher | None = None
    rows: list[Epoch] = field(default_factory=list)
    interrupted: bool = False
    started: float = field(default_factory=time.perf_counter)
    lap: float = field(default_factory=time.perf_counter)

    @property
    def ends(self) -> bool:
        """Whether to stop after the epoch in progress."""
        return self.interrupted or (self.observer is not None and self.observer.stop)

    def begin(self, model: keras.Model, data: Any, validation: Any, options: Mapping[str, Any]) -> int:
        """Give a built model the state to go on from; returns how many epochs are done."""
        checkpoint = None if self.observer is None else self.observer.begin(model, data, validation, options)
        if checkpoint is None:
            return 0
        if checkpoint.epoch > self.epochs:
            raise InputError(f"epochs must be >= {checkpoint.epoch}, which are done. Received: epochs={self.epochs}")
        self.rows = checkpoint.rows()
        self.lap = time.perf_counter()
        return checkpoint.epoch

    def snapshot(self, arrays: Callable[[], list[Any]]) -> list[np.ndarray] | None:
        return None if self.observer is None else self.observer.snapshot(arrays())

    def record(self, logs: Mapping[str, Any], validation_logs: Mapping[str, Any], state: Any = None) -> None:
        now = time.perf_counter()
        row: Epoch = {"epoch": len(self.rows) + 1}
        for prefix, part in (("", logs), ("val_", validation_logs)):
            row |= {prefix + name: float(part[name]) for name in loss_first(part)}
        row["seconds"] = now - self.lap
        self.lap = now
        self.rows.append(row)
        if self.observer is not None:
            self.observer.add(row, state)
        if self.watcher is not None:
            self.watcher.follow(self.rows)
        self.on_epoch(row)


def train(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int = 32,
    validation_data: tuple | None = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    seed: int = 0,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    folder: "str | Path | Observer | None" = None,
    checkpoint_every: int | None = None,
    log: Tool | Iterable[Tool] = (),
    distribution: "keras.distribution.DataParallel | keras.distribution.ModelParallel | None" = None,
) -> TrainResult:
    """Train a compiled Keras model, as `model.fit` does, and keep what each epoch showed.

    On the JAX backend an epoch is one compiled program (`adamkit.lab.training.population`); without shuffling the
    result is that of `model.fit` to float32 rounding, and what training makes of it. On the TensorFlow and PyTorch
    backends, and on several devices, it is `model.fit`. A custom `train_step` is used as it is; of what it reports,
    every number has a column, and what is none is left out, with a RuntimeWarning. Ctrl-C ends the run after the epoch
    in progress, with everything so far kept; a second Ctrl-C ends it at once.

    Args:
        model: A compiled model: its optimizer, loss and metrics are used, and its weights trained in place.
        x: Inputs: an array (rows, …) of any library, a table of numbers or a list of rows, in memory or a
            `numpy.memmap`; or a list, tuple or dictionary of arrays for a model with several inputs.
        y: Targets, likewise.
        epochs: How often to go through the data, >= 1.
        batch_size: Rows a step, >= 1; the last step of an epoch has what is left. Defaults to 32.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, evaluated after each epoch.
        validation_split: The share of the rows, 0 <= share < 1, to validate on instead of training on them: the last
            ones, as Keras does. Defaults to 0.
        shuffle: Whether to draw a new order of the rows for each epoch. Defaults to True.
        seed: Of that order. Initial weights and dropout have their own seeds, set where the model is made
            (`keras.utils.set_random_seed`). Defaults to 0.
        class_weight: The weight of the loss of each class (label: weight; others 1), of the rows to train on. Not with
            `sample_weight`.
        sample_weight: (rows,) the weight of the loss of each row; or as many as there are outputs.
        on_epoch: Called after each epoch with its row of the history.
        folder: Where to keep checkpoints, in `folder/checkpoints`: the last two, and one at the end. A run whose
            checkpoints are there already goes on from the latest, to the same bits on JAX as if it had never stopped,
            and, where all its epochs are done, with further ones. Defaults to None: nothing is kept.
        checkpoint_every: Epochs between checkpoints, >= 1. Defaults to None: as often as takes less than 2 % of the
            run's time.
        log: Where to keep the run too: tools of `adamkit.lab.logs`, one or several. One that is not installed or fails
            is a RuntimeWarning.
        distribution: Train on several devices, on JAX, a model that was made and compiled within
            `with distribution.scope():`, by `model.fit`. Each batch is shared among the devices. Defaults to None: on
            those of `keras.distribution.set_distribution`, else on one.

    Returns:
        The history and the trained model.

    Raises:
        TypeError: `model` is no Keras model, or the data are no arrays (a sparse matrix, a generator, a
            `tf.data.Dataset`).
        ValueError: It is not compiled, or not within the distribution's scope, an argument is out of range, or the
            arrays differ in their number of rows; or the folder has checkpoints of another run: other data, another
            model, optimizer, seed or batch size.
        OSError: The last checkpoint could not be written.
        FloatingPointError: A gradient is not finite, and the optimizer has `on_nonfinite="raise"`.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(learning_rate=0.1), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.train(model, x, x.sum(axis=1), epochs=60)
        >>> bool(result.history.loss.iloc[-1] < 0.01)
        True
    """
    check_model(model)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    if checkpoint_every is not None:
        check_count("checkpoint_every", checkpoint_every)
    data, validation = checked_data(x, y, validation_data, validation_split, class_weight, sample_weight)
    own = Keeper(folder, checkpoint_every) if isinstance(folder, (str, Path)) else None
    tools = checked(log)
    distribution = distributed.checked(distribution, model, batch_size, data, validation)
    run = _Run(epochs, on_epoch or (lambda row: None), own or folder)  # pyright: ignore[reportArgumentType]
    if own is not None:
        Path(own.folder).mkdir(parents=True, exist_ok=True)
    options = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
    made_from = parameters_of(model, options) if tools else {}
    on_one = keras.backend.backend() == "jax" and distribution is None
    fit = _train_compiled if on_one else _train_with_fit
    scope = contextlib.nullcontext() if distribution is None else distribution.scope()
    with scope, Watcher(tools, name_of("train", folder), made_from, _warn) as run.watcher:
        try:
            with ctrl_c_asks(run):
                done = fit(model, data, validation, run, batch_size, shuffle, seed)
        finally:
            if run.observer is not None:
                run.observer.finish()
        history = pd.DataFrame(run.rows)
        if tools and run.rows:
            with files_left(_warn, history, model=model) as files:
                run.watcher.end(INTERRUPTED if run.interrupted else DONE, files=files)
    if own is not None:
        for complaint in own.complaints:
            _warn(f"a checkpoint was passed over: {complaint}")
        if (failure := unsaved(own)) is not None:
            raise failure
    return TrainResult(history, model, time.perf_counter() - run.started, run.interrupted, resumed_after=done)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def measure(model: keras.Model, x: Any, y: Any, *, batch_size: int = 32) -> dict[str, float]:
    """The loss and each metric of a compiled model on rows that it was not trained on, by `model.evaluate`."""
    logs = figures(model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True))  # pyright: ignore[reportArgumentType]
    return {name: float(logs[name]) for name in loss_first(logs)}


def check_on_jax(what: str) -> None:
    """InputError unless Keras is on JAX, as what maps runs over members needs it."""
    backend = keras.backend.backend()
    if backend != "jax":
        raise InputError(
            f"{what} needs Keras on JAX (environment variable KERAS_BACKEND=jax). Received: Keras on {backend}"
        )


def check_model(model: Any) -> None:
    """TypeError or ValueError unless `model` is a compiled Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a compiled keras.Model. Received: {type(model).__name__}")
    if not model.compiled or model.optimizer is None:
        raise ValueError("model must be compiled with an optimizer and a loss. Received: a model without; call compile")


def checked_data(
    x: Any,
    y: Any,
    validation_data: tuple | None,
    validation_split: float,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
) -> tuple[Any, Any]:
    """The rows to train on and those to validate on (or None), each as (x, y, sample weights); see `train`."""
    if not 0 <= validation_split < 1:
        raise ValueError(f"validation_split must be >= 0 and < 1. Received: validation_split={validation_split!r}")
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight cannot both be given")
    data = _arrays("training data", ("x", "y", "sample_weight"), (x, y, sample_weight))
    if class_weight is not None and not isinstance(class_weight, Mapping):
        kind = type_of(class_weight)
        raise TypeError(f"class_weight must be a dictionary of labels to weights. Received: {kind}")
    validation = None
    if validation_data is not None:
        validation = part_of("validation_data", validation_data)
    elif validation_split:
        data, split = split_off(data, validation_split)
        validation = _weight_each_output(split)
    if class_weight is not None:  # after the split: as in Keras, only the rows to train on are weighed by their class
        data = (data[0], data[1], _weights_of(data[1], class_weight))
    return _weight_each_output(data), validation


def part_of(name: str, data: tuple) -> Any:
    """`(x, y)` or `(x, y, sample_weight)` as checked arrays (x, y, sample weights)."""
    accepted = f"{name} must be (x, y) or (x, y, sample_weight)"
    if not isinstance(data, (tuple, list)):
        raise TypeError(f"{accepted}. Received: {type_of(data)}")
    if len(data) not in (2, 3):
        raise ValueError(f"{accepted}. Received: {len(data)}")
    names = tuple(f"{one} of {name}" for one in ("x", "y", "sample_weight"))
    return _weight_each_output(_arrays(name, names, (*data, None)[:3]))


def _train_compiled(model, data, validation, run: _Run, batch_size: int, shuffle: bool, seed: int) -> int:
    """One compiled program an epoch: the population of one member. Returns how many epochs were done before."""
    import jax

    from adamkit.keras.internals import build_for, guard_of
    from adamkit.lab.training.population import Program, finds_rate, members_of, place_of_rate, write_back

    build_for(model, jax.tree.map(lambda rows: rows[:batch_size], data))
    program = Program.of(model)
    done = run.begin(model, data, validation, {"batch_size": batch_size, "shuffle": shuffle, "seed": seed})
    members = members_of(model)
    rows = jax.tree.leaves(data)[0].shape[0]
    orders = orders_of_epochs(rows, shuffle, seed, done)
    order = np.arange(rows, dtype=np.int32)
    data, validation = jax.device_put((data, validation))
    program.prepare(members, data, order, batch_size, validation)
    pending = None
    guard = guard_of(model.optimizer)

    def record(logs, state):
        of_training, of_validation = jax.tree.map(lambda value: value[0], jax.device_get(logs))
        run.record(of_training, of_validation, state)

    def state_of(members):
        return [np.asarray(array)[0] for group in members[:3] for array in group]

    try:
        for _ in range(done, run.epochs):
            if run.ends:
                break
            order = next(orders)
            members, logs = program.train_epoch(members, data, order, batch_size)
            if finds_rate(model.optimizer):  # a copy, since the next epoch writes into what it is given
                rate = members.optimizer[place_of_rate(model.optimizer)]
                logs = logs | {"learning_rate": jax.numpy.array(rate)}
            validation_logs = {} if validation is None else program.evaluate(members, validation, batch_size)
            # The device is at work on this epoch while the last one is shown.
            if pending is not None:
                record(*pending)
                pending = None
            pending = (logs, validation_logs), run.snapshot(functools.partial(state_of, members))
            if guard is not None and np.asarray(members.optimizer[guard])[0, 0]:
                break  # and `finalize_variable_values` tells why
        if pending is not None:
            record(*pending)
    finally:
        write_back(members, 0, model)
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return done


def orders_of_epochs(rows: int, shuffle: bool, seed: int, done: int = 0) -> Iterator[np.ndarray]:
    """The order of the rows in each epoch after those that are done, (rows,) int32: a function of seed and epoch."""
    orders = np.random.RandomState(seed)  # the generator that Keras shuffles with
    order = np.arange(rows, dtype=np.int32)
    for epoch in itertools.count():
        if shuffle:
            order = orders.permutation(rows).astype(np.int32)
        if epoch >= done:
            yield order


def _train_with_fit(model, data, validation, run: _Run, batch_size: int, shuffle: bool, seed: int) -> int:
    """`model.fit`, on the backends whose step is no pure function. Returns how many epochs were done before."""
    from adamkit.keras.internals import build_for, learning_rate_of, without_scaler, without_tensorflow

    if keras.backend.backend() != "jax":  # where all that is random is in variables
        with without_tensorflow():
            keras.utils.set_random_seed(seed)
    build_for(model, keras.tree.map_structure(lambda rows: None if rows is None else rows[:batch_size], data))
    done = run.begin(model, data, validation, {"batch_size": batch_size, "shuffle": shuffle, "seed": seed})

    orders = orders_of_epochs(rows_of(data), shuffle, seed, done)
    batches = _Batches(data, batch_size)

    class Record(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            batches.order = next(orders)
            if keras.backend.backend() == "torch":  # where Dropout draws from a generator that is in no variable
                import torch

                torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7]))

        def on_epoch_end(self, epoch, logs=None):
            logs = figures(logs or {})
            if getattr(without_scaler(model.optimizer), "finds_rate", False):
                logs["learning_rate"] = float(_on_host(learning_rate_of(model.optimizer)))
            validation_logs = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
            state = run.snapshot(lambda: [_on_host(variable) for variable in checkpoints.variables_of(model)])
            run.record({k: v for k, v in logs.items() if not k.startswith("val_")}, validation_logs, state)
            model.stop_training = run.ends or getattr(without_scaler(model.optimizer), "has_stopped", False)

    if done == run.epochs:
        return done
    x, y, sample_weight = data
    model.fit(
        batches if shuffle else x,
        None if shuffle else y,
        sample_weight=None if shuffle else sample_weight,
        validation_data=validation,
        initial_epoch=done,
        epochs=run.epochs,
        batch_size=None if shuffle else batch_size,
        shuffle=False,
        callbacks=[Record()],
        verbose=0,
    )
    return done


class _Batches(keras.utils.PyDataset):
    """The batches of an epoch, in an order that is given anew for each: `order`."""

    def __init__(self, data: Any, batch_size: int):
        super().__init__()
        self._data = data if data[2] is not None else data[:2]
        self._batch_size = batch_size
        self.order = np.arange(rows_of(data))  # a batch is looked at before the first epoch

    def __len__(self):
        return -(-len(self.order) // self._batch_size)

    def __getitem__(self, index):
        taken = self.order[index * self._batch_size : (index + 1) * self._batch_size]
        return keras.tree.map_structure(lambda rows: rows[taken], self._data)


def _on_host(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable.value)


def _arrays(name: str, names: tuple[str, ...], data: tuple) -> Any:
    """The data as NumPy arrays of equal length."""
    data = tuple(as_arrays(one, values) for one, values in zip(names, data, strict=True))
    lengths = {len(values) for values in keras.tree.flatten(data) if values is not None}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"{name} must have the same number of rows, at least 1, in every array. Received: {sorted(lengths)}"
        )
    return data


def split_off(data: Any, share: float, name: str = "validation_split") -> tuple[Any, Any]:
    """The first rows and the last ones; the numbers as in Keras."""
    rows = rows_of(data)
    first = int(rows * (1.0 - share))
    if first == 0 or first == rows:
        raise ValueError(
            f"{name}={share!r} leaves {first} of {rows} rows to train on and {rows - first} to "
            f"{'report' if name == 'test_split' else 'validate'} on"
        )
    take = keras.tree.map_structure
    return (
        take(lambda values: None if values is None else values[:first], data),
        take(lambda values: None if values is None else values[first:], data),
    )


def rows_of(data: Any) -> int:
    """How many rows there are in arrays of equal length."""
    return len(next(values for values in keras.tree.flatten(data) if values is not None))


def _weights_of(y: Any, class_weight: Mapping[int, float]) -> np.ndarray:
    """The weight of each row by its label: a number, or the position of the largest of several."""
    if keras.tree.is_nested(y):
        raise ValueError("class_weight must be None for a model with several outputs")
    labels = y if y.ndim == 1 else y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    return np.array([class_weight.get(int(label), 1.0) for label in np.round(labels)], keras.backend.floatx())


def _weight_each_output(data: Any) -> Any:
    """One array of weights counts for each of several outputs."""
    x, y, weights = data
    if weights is not None and keras.tree.is_nested(y) and not keras.tree.is_nested(weights):
        weights = keras.tree.map_structure(lambda _: weights, y)
    return x, y, weights


def check_count(name: str, value: Any, least: int = 1, most: int = BELOW - 1) -> None:
    """TypeError or InputError unless `value` is a whole number >= `least` and <= `most`."""
    accepted = f"{name} must be a whole number >= {least}. Received: {name}={shown(value)}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(accepted)
    if value < least:
        raise InputError(accepted)
    if value > most:
        raise InputError(f"{name} must be a whole number <= {most:,}. Received: {name}={shown(value)}")


def loss_first(names: Iterable[str]) -> list[str]:
    """The order of a history's columns: the loss, then the metrics by name."""
    return sorted(names, key=lambda name: (name != "loss", name))
