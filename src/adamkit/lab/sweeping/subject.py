"""What all runs of a sweep have in common: the model, its data and the options, from which chunks of runs are trained.

It holds no settings and nothing of the order in which runs are trained, so that another process can have the same.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import keras
import numpy as np

from adamkit.keras.internals import build_for, without_scaler
from adamkit.lab import hyperparameters
from adamkit.lab.errors import InputError, reason
from adamkit.lab.sweeping import spaces
from adamkit.lab.sweeping.chunks import Arrays, Run, Trainer
from adamkit.lab.sweeping.remaking import drawn_start, go_on_from, optimizer_with, steps_of
from adamkit.lab.sweeping.tables import signed
from adamkit.lab.training.population import is_adam
from adamkit.lab.training.tracing import left_alone

SCHEDULE = hyperparameters.names(of="schedule")
PROGRAM = hyperparameters.names(changes_program=True)  # settings are grouped by these


class Subject:
    """A model, its data and the options of its training.

    Args:
        model: Compiled; it is left as it is, but for what `for_program` does meanwhile.
        data: (x, y, sample weights), checked.
        validation: Likewise, or None.
        options: By name, those of `sweep`.
        memory: As in `sweep`.
        quick: Compile fast rather than well.
    """

    def __init__(
        self,
        model: keras.Model,
        data: Any,
        validation: Any,
        options: Mapping[str, Any],
        memory: int | None,
        *,
        quick: bool = False,
    ):
        self.model, self.data, self.validation = model, data, validation
        self.options, self.memory, self.quick = dict(options), memory, quick
        first = slice(options["batch_size"])
        self.batch, self.validation_batch = jax.tree.map(lambda rows: rows[first], (data, validation))
        build_for(model, self.batch)
        self._starts: dict[int, tuple] = {}
        self._kept: list[bool] | None = None  # which non-trainable variables every start has as they stand

    def program_of(self, setting: spaces.Setting) -> tuple:
        """Settings for which this is the same need the same program: flags, the batch size, and what is 0.

        Keras's optimizers have other code for a momentum of 0; Adam's rule is the same for all its numbers.
        """
        flags = tuple(setting.get(name) for name in PROGRAM)
        if is_adam(self.model.optimizer):
            return flags
        return (*flags, *(value == 0 for name, value in setting.items() if name not in (*PROGRAM, *SCHEDULE)))

    @contextlib.contextmanager
    def for_program(self, setting: spaces.Setting) -> Iterator[None]:
        """The model with its optimizer, or one that has the variables that settings with this one's program need."""
        model, own = self.model, self.model.optimizer
        needed = {}
        for name, value in setting.items():
            now = getattr(without_scaler(own), name, None)
            is_flag, is_number = isinstance(value, bool), not is_adam(own) and name not in (*PROGRAM, *SCHEDULE)
            if (is_flag and value != now) or (is_number and now is not None and (value == 0) != (now == 0)):
                needed[name] = value
        if not needed:
            yield
            return
        model.optimizer = optimizer_with(own, needed)
        model.optimizer.build(model.trainable_variables)
        if steps_of(own):  # settings of one sweep begin alike
            go_on_from(own, model.optimizer)
        try:
            yield
        finally:
            model.optimizer = own

    def batch_size(self, setting: spaces.Setting) -> int:
        """Rows a step."""
        return int(setting.get("batch_size", 0)) or self.options["batch_size"]

    def hyperparameters(self, setting: spaces.Setting) -> dict[str, float]:
        """What of a setting differs from member to member; a schedule is made complete."""
        mapped = {name: float(value) for name, value in setting.items() if name not in PROGRAM}
        if mapped.keys() & set(SCHEDULE):
            rows = len(jax.tree.leaves(self.data)[0])
            total = self.options["epochs"] * math.ceil(rows / self.batch_size(setting))
            rate = float(np.asarray(self.model.optimizer.learning_rate))
            mapped = {"learning_rate": rate, "total_steps": total} | mapped
        return mapped

    def trainer(self, batch_size: int) -> Trainer:
        """What trains chunks of runs in this process."""
        options = self.options
        return Trainer(
            self.model, self.data, self.validation, batch_size, self.start, lambda run: self._number(run) == 0,
            self._order, options["same_order"] or not options["shuffle"], signed(options["objective"]),
            options["patience"], self.memory, self.quick,
        )  # fmt: skip

    def start(self, run: Run) -> tuple[Arrays, Arrays]:
        """The weights that a run starts with."""
        number = self._number(run)
        if number in self._starts:
            return self._starts[number]
        if number == 0:
            groups = (self.model.trainable_variables, self.model.non_trainable_variables)
            trainable, non_trainable = ([np.array(v.value) for v in group] for group in groups)
        else:
            trainable, non_trainable = self._drawn(number)
        if self.options["same_start"]:  # else they would be as many as settings
            self._starts[number] = trainable, non_trainable
        return trainable, non_trainable

    def _number(self, run: Run) -> int:
        """Of its start: 0 is the model as it stands."""
        return run.seed if self.options["same_start"] else run.setting * self.options["seeds"] + run.seed

    def _drawn(self, number: int) -> tuple[Arrays, Arrays]:
        if self._kept is None:
            self._kept = left_alone(self.model, self.batch)
        try:
            return drawn_start(self.model, self._kept, [self.options["seed"], number])
        except Exception as error:
            raise InputError(
                "several starts need a model that can be made again from its configuration: "
                f"{type(self.model).__name__} must have get_config and from_config as Keras's guide to "
                f"serialization shows. Received: {reason(error)}"
            ) from error

    def _order(self, run: Run) -> np.random.RandomState | None:
        options = self.options
        if not options["shuffle"]:
            return None
        if options["same_order"]:
            return np.random.RandomState(options["seed"] + run.seed)  # as in `lab.train`
        return np.random.RandomState([options["seed"], run.seed, run.setting])
