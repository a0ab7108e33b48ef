"""Training what was chosen, as populations of the lab's: each kind of choice is one compiled program, made once."""

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.sweeping.chunks import well_together
from adamkit.lab.training.population import Members, Program, in_float32, members_of, write_back
from adamkit.lab.training.recording import Row
from adamkit.lab.training.trainer import orders_of_epochs
from adamkit.play.choices import Choice
from adamkit.play.subject import Subject

_MOST = 32  # at once: a population of more than a tenth of a second keeps those waiting who move a slider


class Bench:
    """Programs for a subject. Several threads may use it.

    Attributes:
        subject: What is trained.
        size: Of a population; 1 where a run alone fills a core.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        parameters = sum(math.prod(variable.shape) * 4 for variable in subject.model.trainable_variables)
        is_better_alone = Program.of(subject.model).is_better_alone(subject.start.batch_size)
        self.size = 1 if is_better_alone else min(_MOST, well_together(parameters))
        self._kinds: dict[tuple, _Kind] = {}
        self._making = threading.Lock()

    def is_ready(self, choice: Choice, n: int) -> bool:
        """Whether n choices like this one train without anything to compile."""
        kind = self._kinds.get(choice.program)
        return kind is not None and n in kind.ready

    def prepare(self, choice: Choice, n: int) -> None:
        """Compile what n choices like this one need."""
        self._kind(choice).prepare(n)

    def epochs(self, chosen: Sequence[Choice], n: int | None = None) -> Iterator[np.ndarray]:
        """Train choices of one program side by side.

        Args:
            chosen: What differs is numbers; as many epochs each.
            n: The size of the population, if larger: it is filled up with copies.

        Yields:
            (choices, columns) float32 after each epoch.
        """
        kind = self._kind(chosen[0])
        n = n or len(chosen)
        filled = [*chosen, *[chosen[-1]] * (n - len(chosen))]
        kind.prepare(n)
        for _, figures in kind.train(filled):
            yield figures[: len(chosen)]

    def states(self, choice: Choice) -> Iterator[tuple[Members, np.ndarray]]:
        """Train one choice, and yield its whole state on the host after each epoch, beside its figures."""
        kind = self._kind(choice)
        kind.prepare(1)
        for members, figures in kind.train([choice], keep=True):
            yield members, figures[0]

    def recorded(self, choice: Choice, place: tuple[int, int], steps: int) -> Row:
        """Train a choice with Adam as far as its first steps, and keep what they did to one weight.

        Args:
            choice: …
            place: Of the weight: see `adamkit.lab.training.recording.Recording`.
            steps: How many to keep.
        """
        kind = _Kind(self.subject, choice, recording=(place, steps))
        kind.prepare(1)
        epochs = math.ceil(steps / math.ceil(choice.rows / choice.batch_size))
        *_, (members, _) = itertools.islice(kind.train([choice], keep=True), epochs)
        write_back(members, 0, kind.model)
        optimizer: Any = kind.model.optimizer
        return optimizer.rows

    def model_of(self, choice: Choice) -> Any:
        """The compiled model of this kind: its variables are in the order of a state's arrays."""
        return self._kind(choice).model

    def _kind(self, choice: Choice) -> "_Kind":
        with self._making:
            if choice.program not in self._kinds:
                self._kinds[choice.program] = _Kind(self.subject, choice)
            return self._kinds[choice.program]


class _Kind:
    """One program: a model compiled with one structure of optimizer, some rows and a batch size."""

    def __init__(self, subject: Subject, choice: Choice, recording: tuple[tuple[int, int], int] | None = None):
        self.model = subject.compiled(choice, recording)
        self.ready: set[int] = set()
        self._subject, self._batch_size = subject, choice.batch_size
        self._program = Program.of(self.model)
        self._one = jax.device_get(members_of(self.model))
        self._data = jax.device_put(subject.rows_of(choice))
        self._validation = None if subject.validation is None else jax.device_put(subject.validation)
        self._names = [name for name in choice.setting if HYPERPARAMETERS[name].kind != "flag" and name != "batch_size"]
        self._example, self._rows = choice, choice.rows
        self._compiling = threading.Lock()

    def prepare(self, n: int) -> None:
        if n in self.ready:
            return
        with self._compiling:
            if n not in self.ready:
                order = np.arange(self._rows, dtype=np.int32)
                members = jax.device_put(self._members([self._example] * n))
                self._program.prepare(members, self._data, order, self._batch_size, self._validation)
                self.ready.add(n)

    def train(self, chosen: Sequence[Choice], *, keep: bool = False) -> Iterator[tuple[Members, np.ndarray]]:
        members = jax.device_put(self._members(chosen))
        orders = orders_of_epochs(self._rows, self._subject.shuffle, self._subject.seed)
        pending = None
        for order in itertools.islice(orders, chosen[0].epochs):
            members, logs = self._program.train_epoch(members, self._data, order, self._batch_size)
            held = {}
            if self._validation is not None:
                held = self._program.evaluate(members, self._validation, self._batch_size)
            if pending is not None:  # the device is at work on this epoch while the last one is looked at
                yield members, self._figures(pending)
            pending = logs, held
            if keep:
                yield jax.device_get(members), self._figures(pending)
                pending = None
        if pending is not None:
            yield members, self._figures(pending)

    def _figures(self, logs: tuple[dict, dict]) -> np.ndarray:
        """(members, columns) float32."""
        own, held = jax.device_get(logs)
        named = own | {f"val_{name}": values for name, values in held.items()}
        return np.stack([np.asarray(named[name], np.float32) for name in self._subject.columns], axis=1)

    def _members(self, chosen: Sequence[Choice]) -> Members:
        n = len(chosen)
        settings = [choice.setting for choice in chosen]
        steps = math.ceil(self._rows / self._batch_size)
        own = {
            name: in_float32(name, np.array([one[name] for one in settings], np.float64), self.model.optimizer)
            for name in self._names
        }
        own["total_steps"] = np.array([choice.epochs * steps for choice in chosen], np.float32)
        members = jax.tree.map(lambda value: np.broadcast_to(value, (n, *value.shape[1:])), self._one)
        return members._replace(hyperparameters=members.hyperparameters | own)
