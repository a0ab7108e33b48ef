"""What is played with: a model, its data, and the choices that the page begins with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from adamkit import moments
from adamkit.keras import Adam
from adamkit.keras.internals import build_for, compile_arguments, learning_rate_of, without_scaler
from adamkit.lab import runs
from adamkit.lab.comparing.optimizers import OPTIMIZERS
from adamkit.lab.errors import InputError, reason
from adamkit.lab.hyperparameters import HYPERPARAMETERS, names
from adamkit.lab.insight.reports import made
from adamkit.lab.sweeping.remaking import optimizer_with, remade
from adamkit.lab.training.recording import Recording
from adamkit.lab.training.tracing import reported
from adamkit.lab.training.trainer import check_count, check_model, checked_data, loss_first
from adamkit.play import choices
from adamkit.play.choices import ADAM, Choice

_SCHEDULE = {name: HYPERPARAMETERS[name].default for name in names(of="schedule") if name != "learning_rate"}


@dataclass(frozen=True)
class Subject:
    """A model on its data.

    Attributes:
        title: What it is called.
        model: Compiled and built; it is left as it is. Every run starts with its weights.
        data: (x, y, sample weights), NumPy arrays.
        validation: Likewise, or None.
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of that order.
        defaults: The choice with the default of every hyperparameter, by optimizer; its epochs and rows are the most.
        start: The choice that the page begins with.
        settings: What it was made from; None: a model that was given.
        record: What `run.json` says of that.
        columns: What each epoch shows: the loss, the metrics, and the same on the validation data.
    """

    title: str
    model: keras.Model
    data: Any
    validation: Any
    shuffle: bool
    seed: int
    defaults: Mapping[str, Choice]
    start: Choice
    settings: runs.Settings | None
    record: Mapping[str, Any] | None
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        """To train on."""
        return len(jax.tree.leaves(self.data)[0])

    @property
    def objective(self) -> str:
        """The column that is to be small."""
        return "val_loss" if "val_loss" in self.columns else "loss"

    @property
    def arguments(self) -> dict[str, Any]:
        """What the model's own Adam was given besides what the page chooses, such as `epsilon_hat` or `nesterov`."""
        base = without_scaler(self.model.optimizer)
        if not isinstance(base, Adam):
            return {}
        chosen = {"name", "moment_dtype", *choices.of_optimizer(ADAM)}
        usual = Adam().get_config()
        return {
            name: value
            for name, value in base.get_config().items()
            if name in usual and name not in chosen and value != usual[name] and value is not None
        }

    @property
    def named(self) -> dict[str, Any]:
        """The settings that the model and its data are made from, where they are not their defaults."""
        if self.settings is None:
            return {}
        chosen = ("epochs", "moment_dtype", *choices.of_optimizer(ADAM))
        return {name: value for name, value in made.changed(self.settings).items() if name not in chosen}

    @property
    def compiled_with(self) -> dict[str, Any]:
        """What the model's `compile` was given, as it was given."""
        return compile_arguments(self.model)

    def rows_of(self, choice: Choice) -> Any:
        """The data that a choice trains on."""
        return jax.tree.map(lambda values: values[: choice.rows], self.data)

    def compiled(self, choice: Choice, recording: tuple[tuple[int, int], int] | None = None) -> keras.Model:
        """A copy of the model, compiled with an optimizer of the choice's kind, and built.

        Args:
            choice: What is to be trained.
            recording: The place of a weight whose first steps Adam is to keep, and how many.
        """
        model, optimizer = remade(self.model), self._optimizer(choice)
        if recording is not None:
            optimizer = Recording.from_config(optimizer.get_config() | {"place": recording[0], "steps": recording[1]})
        model.compile(**self.compiled_with | {"optimizer": optimizer})
        build_for(model, jax.tree.map(lambda values: values[: choice.batch_size], self.data))
        return model

    def _optimizer(self, choice: Choice) -> Any:
        own = {name: value for name, value in choice.values if name not in _SCHEDULE and name != "batch_size"}
        if choice.optimizer == ADAM:
            base = without_scaler(self.model.optimizer)
            config = base.get_config() if isinstance(base, Adam) else {}
            return Adam.from_config(config | own | {"moment_dtype": choice.moment_dtype})
        known = OPTIMIZERS[choice.optimizer]
        return getattr(keras.optimizers, known.kind)(**own, **known.fixed)

    def describe(self) -> dict[str, Any]:
        """What the page needs to know."""
        sliders = {}
        most = self.defaults[ADAM]
        total = self.start.epochs * math.ceil(self.rows / self.start.batch_size)
        for name in dict.fromkeys(name for each in self.defaults for name in choices.of_optimizer(each)):
            known = HYPERPARAMETERS[name]
            among = [one.setting[name] for one in (*self.defaults.values(), self.start) if name in one.setting]
            sliders[name] = {
                "symbol": known.symbol, "title": known.title or name.replace("_", " "), "help": known.help,
                "kind": known.kind, "unit": known.unit, "accepted": known.accepted, "is_decay": known.is_decay,
                "program": known.changes_program, "stops": choices.stops(known, total, self.rows, among),
            }  # fmt: skip
        return {
            "title": self.title, "columns": self.columns, "objective": self.objective, "seed": self.seed,
            "sliders": sliders, "start": self.start.as_json(), "epochs": most.epochs, "rows": most.rows,
            "defaults": {name: choice.as_json() for name, choice in self.defaults.items()},
            "parameters": self.model.count_params(), "named": self.settings is not None,
            "moments": list(moments.FORMATS), "command": self._command(),
            "declared": {name: HYPERPARAMETERS[name].default for name in choices.of_optimizer(ADAM)},
        }  # fmt: skip

    def command(self, choice: Choice) -> str | None:
        """The `adamkit train` that repeats the choice's run; None where there is none."""
        if self.settings is None or choice.optimizer != ADAM or choice.rows < self.rows:
            return None
        changes: dict[str, Any] = {"moment_dtype": choice.moment_dtype, "epochs": choice.epochs}
        return made.command("train", made.changed(replace(self.settings, **(choice.setting | changes))))

    def _command(self) -> str | None:
        """That command without what the page chooses."""
        return None if self.settings is None else made.command("train", self.named)


def of_settings(settings: runs.Settings) -> Subject:
    """What a run's settings say, as `adamkit train` takes them.

    Raises:
        InputError: Something that they name is not there or does not fit, or they ask for another backend than JAX.
        OSError: A download failed, or a file cannot be read.
    """
    if settings.backend != "jax":
        raise InputError(f"play runs on the backend jax. Received: backend={settings.backend!r}")
    prepared = runs.prepare(replace(settings, **_SCHEDULE))  # the schedule is each choice's own
    train, validation = prepared.train, prepared.validation
    return _subject(
        f"{Path(settings.model).name} on {Path(settings.data).name}",
        prepared.model,
        (train.x, train.y),
        None if validation is None else (validation.x, validation.y),
        settings.epochs,
        settings.shuffle,
        settings.seed,
        {name: getattr(settings, name) for name in choices.of_optimizer(ADAM)},
        settings.moment_dtype,
        settings,
        prepared.record,
    )


def of_model(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int,
    validation_data: tuple | None,
    validation_split: float,
    shuffle: bool,
    seed: int,
) -> Subject:
    """A compiled model and arrays: see `adamkit.lab.play`."""
    check_model(model)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_count(name, value)
    (x, y, weights), validation = checked_data(x, y, validation_data, validation_split)
    optimizer = without_scaler(model.optimizer)
    start: dict[str, Any] = {"batch_size": batch_size}
    if isinstance(optimizer, keras.optimizers.Adam):
        start |= {name: optimizer.get_config()[name] or 0.0 for name in ("beta_1", "beta_2", "epsilon", "weight_decay")}
        start["amsgrad"] = bool(optimizer.amsgrad)
    if isinstance(learning_rate_of(optimizer), keras.Variable):
        start["learning_rate"] = float(f"{float(np.asarray(optimizer.learning_rate)):.7g}")
    for name in ("bias_correction", "adaptivity"):
        start[name] = getattr(optimizer, name, True)
    stored = getattr(optimizer, "moment_dtype", "float32")
    return _subject(model.name, model, (x, y, weights), validation, epochs, shuffle, seed, start, stored)


def _subject(
    title, model, data, validation, epochs, shuffle, seed, start, moment_dtype, settings=None, record=None
) -> Subject:
    data = (*data, None)[:3]
    validation = None if validation is None else (*validation, None)[:3]
    rows = len(jax.tree.leaves(data)[0])
    batch = jax.tree.map(lambda values: values[: int(start["batch_size"])], data)
    build_for(model, batch)
    try:
        own = remade(model)
    except Exception as error:  # whatever the user's class raises
        raise InputError(
            f"play needs a model that can be made again from its configuration: {type(model).__name__} must have "
            f"get_config and from_config as Keras's guide to serialization shows. Received: {reason(error)}"
        ) from error
    columns = loss_first(reported(model, batch))
    if validation is not None:
        columns += [f"val_{name}" for name in loss_first(reported(model, batch, test=True))]
    if settings is None:  # a copy: the caller may train the model on, and every run starts with its weights of now
        base = without_scaler(model.optimizer)
        optimizer = optimizer_with(base, {}) if isinstance(base, Adam) else keras.optimizers.Adam()
        own.compile(**compile_arguments(model) | {"optimizer": optimizer})
        build_for(own, batch)
        model = own
    defaults = {
        name: Choice(name, "float32", epochs, rows, tuple((choices.defaults(name) | _training(name, start)).items()))
        for name in choices.NAMES
    }
    begun = choices.checked({"optimizer": ADAM, "moment_dtype": moment_dtype, "values": start}, defaults)
    return Subject(title, model, data, validation, shuffle, seed, defaults, begun, settings, record, tuple(columns))


def _training(name: str, start: Mapping[str, Any]) -> dict[str, Any]:
    """What is no optimizer's own is the run's from the start: its batch size."""
    return {each: start[each] for each in names(of="training") if each in start and each in choices.of_optimizer(name)}
