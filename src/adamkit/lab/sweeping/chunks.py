"""Settings that share one compiled program, trained a chunk at a time.

A chunk is a population of a fixed size, so that all chunks run the same program, which is compiled once. On the CPU one
thread a core trains chunks, on accelerators one thread a device. A chunk is as large as the caches of a core can hold
and no larger than its share of the memory allows.
"""

import math
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import keras
import numpy as np
import pandas as pd

from adamkit.lab import machine
from adamkit.lab.errors import InputError, reason
from adamkit.lab.sweeping.remaking import fresh_state, steps_of
from adamkit.lab.training.population import Data, Logs, Members, Program, in_float32, members_of
from adamkit.lab.training.trainer import loss_first

Arrays = list[np.ndarray]

# Measured on 2 cores with 1 MiB of second-level cache each, with 1,409 and 21,386 parameters: seconds a member fall by
# a third up to about this many bytes of weights, gradients and moments together, and do not fall beyond.
_BYTES_IN_CACHE = 1_500_000
_BYTES_ON_ACCELERATOR = 256_000_000
_SMALLEST, _LARGEST = 4, 256
_COPIES = 4  # of a parameter: itself, its gradient and two moments
# Of one run: from here on it trains alone, as one that is not mapped, whose matrices are no stacks. Nothing is gained
# by a population then: a matrix product fills a core, and the numbers of several runs drive each other from the cache.
_BYTES_ALONE = 3_000_000
_SHARE_OF_MEMORY = 0.5  # of what is free, unless the caller says
_SHARE_FOR_DATA = 0.25  # of that; larger data are streamed


@dataclass(frozen=True)
class Run:
    """One setting with one seed."""

    setting: int
    seed: int  # 0 is the model as it was given


@dataclass(frozen=True)
class Chunk:
    """Runs that are trained together, and where they stand."""

    name: str
    runs: tuple[Run, ...]
    first_epoch: int  # epochs done before
    last_epoch: int


@dataclass
class State:
    """What is kept of the runs of a chunk: arrays (runs, …), in the order of the model's variables."""

    trainable: Arrays
    non_trainable: Arrays
    optimizer: Arrays

    def take(self, places: Sequence[int]) -> "State":
        """Some of the runs."""
        return State(*([array[list(places)] for array in group] for group in self.groups()))

    def groups(self) -> tuple[Arrays, Arrays, Arrays]:
        """All arrays."""
        return self.trainable, self.non_trainable, self.optimizer

    def save(self, path: Path) -> None:
        """Write them to an `.npz` file."""
        arrays: Any = {}
        for group, members in zip("tno", self.groups(), strict=True):
            for place, array in enumerate(members):
                # NumPy's files do not know bfloat16 and its like.
                raw = array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
                arrays[f"{group}{place}.{array.dtype.name}"] = raw
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read them again."""
        state = cls([], [], [])
        with np.load(path) as file:
            for name in file.files:
                state.groups()["tno".index(name[0])].append(file[name].view(name.partition(".")[2]))
        return state

    @classmethod
    def joined(cls, states: Iterable["State"]) -> "State":
        """The runs of several."""
        groups = zip(*(state.groups() for state in states), strict=True)
        return cls(*([np.concatenate(arrays) for arrays in zip(*group, strict=True)] for group in groups))


@dataclass(frozen=True)
class Work:
    """A chunk to train, with all that tells its runs from others.

    Attributes:
        chunk: Which runs.
        hyperparameters: Of each run, by name: those that differ from member to member.
        so_far: Of each run, the smallest objective, and the epochs since.
        state: Where the runs stand; None for their start.
    """

    chunk: Chunk
    hyperparameters: tuple[Mapping[str, float], ...]
    so_far: tuple[tuple[float, int], ...]
    state: State | None


class Trained(NamedTuple):
    """A finished chunk.

    Attributes:
        chunk: Which runs.
        history: One row a run and epoch.
        state: Of the runs, at the end.
        processor: What it was trained on, in words: see `machine.processor`.
    """

    chunk: Chunk
    history: pd.DataFrame
    state: State
    processor: str


@dataclass
class Trainer:
    """Trains chunks of one model with one program: one batch size, one structure of the optimizer.

    Attributes:
        model: Compiled and built; it is left as it is.
        data: (x, y, sample weights) of the rows to train on, in memory or mapped from a file.
        validation: Likewise, or None.
        batch_size: Rows a step.
        start: The weights of a run's start: (trainable, non-trainable).
        stands: Whether that is the model as it stands, whose optimizer goes on where it is; else that begins anew.
        order: The order of the rows in a run's epochs: a generator for a run.
        same_order: Whether runs of one chunk share it.
        objective: The value in the logs of a member's epoch that counts, after the sign with which it is to be small.
        patience: Epochs without a smaller objective after which a run ends; None: never.
        memory: Bytes that all chunks at work may take together; None: half of what is free.
        quick: Compile fast rather than well.
    """

    model: keras.Model
    data: Data
    validation: Data | None
    batch_size: int
    start: Callable[[Run], tuple[Arrays, Arrays]]
    stands: Callable[[Run], bool]
    order: Callable[[Run], np.random.RandomState | None]
    same_order: bool
    objective: tuple[float, str]
    patience: int | None
    memory: int | None
    quick: bool = False

    def __post_init__(self):
        self._program = Program.of(self.model, quick=self.quick)
        self._one = jax.device_get(members_of(self.model))  # now: a program that is traced changes the optimizer
        self._steps_before = steps_of(self.model.optimizer)
        self._fresh = fresh_state(self.model.optimizer, self.model.trainable_variables) if self._steps_before else None
        self._rows = len(jax.tree.leaves(self.data)[0])
        self._devices = _workers()
        self._available = self.memory or int(free_memory() * _SHARE_OF_MEMORY)
        self._streamed = _bytes(self.data) > self._available * _SHARE_FOR_DATA
        self._on_device: dict[Any, Any] = {}
        self._one_at_a_time = threading.Lock()

    def chunk_size(
        self, runs: int, hyperparameters: Mapping[str, float], most: int | None = None, workers: int | None = None
    ) -> int:
        """How many runs to train at once, so that the caches, the memory and all devices are used well.

        Args:
            runs: How many there are.
            hyperparameters: Of one of them, as `Work` has them.
            most: At most so many; None: as many as is good.
            workers: How many chunks are trained at a time, each with all of the memory. None: one on each core or
                device of this machine, which share the memory.

        Raises:
            InputError: The memory is too small for one run.
            UnmappableError: The model cannot be trained as a population.
        """
        sharing = len(self._devices) if workers is None else 1
        workers = workers or len(self._devices)
        parameters = sum(math.prod(v.shape) * 4 for v in self.model.trainable_variables)
        on_cpu = jax.default_backend() == "cpu"
        largest = well_together(parameters)
        if on_cpu and self._program.is_better_alone(self.batch_size):
            largest = 1
        chunks = math.ceil(runs / min(largest, _LARGEST))
        if runs >= workers:
            chunks = math.ceil(chunks / workers) * workers
        size = min(math.ceil(runs / chunks), most or runs)
        held = _bytes(self.validation) + (0 if self._streamed else _bytes(self.data))
        sharing = min(sharing, runs)
        share = (self._available - held) // sharing
        while True:
            needed = self._bytes_for(size, hyperparameters)
            if needed <= share:
                return size
            if size == 1:
                raise InputError(
                    f"memory must hold at least one setting, {needed:,} bytes beside the data. Received: {share:,} "
                    f"bytes for each of {sharing} at a time"
                )
            size = max(1, min(size - 1, size * share // needed))

    def seconds_an_epoch(self, size: int, hyperparameters: Mapping[str, float]) -> float:
        """What an epoch of one run takes in a population of so many, on one device: the least of three.

        Without compilation once chunks of this size were trained, and without the validation data.
        """
        members = jax.device_put(self._members([Run(0, 0)] * size, [hyperparameters] * size, None), self._devices[0])
        order = np.arange(self._rows, dtype=np.int32)
        order = order if self.same_order else np.broadcast_to(order, (size, self._rows))
        laps = []
        for _ in range(3):
            started = time.perf_counter()
            members, logs = self._epoch(members, order, self._devices[0])
            jax.block_until_ready(logs)
            laps.append(time.perf_counter() - started)
        return min(laps) / size

    def evaluate(self, state: State, data: Data, size: int) -> dict[str, np.ndarray]:
        """Loss and metrics of some runs at their end on `data`: (runs,) each, in populations of so many."""
        runs = len(state.trainable[0])
        found: list[dict[str, np.ndarray]] = []
        for begin in range(0, runs, size):
            places = [min(begin + place, runs - 1) for place in range(size)]
            groups = state.trainable, state.non_trainable
            weights = tuple([array[places] for array in group] for group in groups)
            logs = self._program.evaluate_weights(jax.device_put(weights, self._devices[0]), data, self.batch_size)
            found.append({name: np.asarray(values, np.float64) for name, values in jax.device_get(logs).items()})
        return {name: np.concatenate([part[name] for part in found])[:runs] for name in found[0]}

    def train(self, works: Iterable[Work], size: int, interrupted: Callable[[], bool]) -> Iterator[Trained]:
        """Train chunks, several at a time.

        Args:
            works: It is drawn from as devices become free.
            size: Runs a chunk; a smaller one is filled up with copies of its last run, which are then dropped.
            interrupted: Whether all chunks are to end.

        Yields:
            Finished chunks.
        """
        waiting = iter(works)
        free = list(self._devices)
        working: dict[Future, Any] = {}
        failed = False

        def is_to_end() -> bool:
            return failed or interrupted()

        with ThreadPoolExecutor(len(self._devices), thread_name_prefix="adamkit") as pool:
            try:
                while True:
                    while free and not interrupted() and (work := next(waiting, None)) is not None:
                        device = free.pop()
                        working[pool.submit(self._train_chunk, work, size, device, is_to_end)] = device
                    if not working:
                        return
                    done, _ = wait(working, timeout=0.1, return_when=FIRST_COMPLETED)  # awake for Ctrl-C
                    for future in done:
                        free.append(working.pop(future))
                        if (trained := future.result()) is not None:
                            yield trained
            except BaseException:
                failed = True
                raise

    def train_one(self, work: Work, size: int) -> Trained:
        """Train a chunk on this machine's first device; see `train`."""
        trained = self._train_chunk(work, size, self._devices[0], lambda: False)
        assert trained is not None  # for nobody ends it
        return trained

    def _train_chunk(self, work: Work, size: int, device: Any, is_to_end: Callable[[], bool]) -> Trained | None:
        chunk, state = work.chunk, work.state
        places = [*range(len(chunk.runs)), *[len(chunk.runs) - 1] * (size - len(chunk.runs))]
        runs = [chunk.runs[place] for place in places]
        state = None if state is None else state.take(places)
        members = self._members(runs, [work.hyperparameters[place] for place in places], state)
        members = jax.device_put(members, device)
        orders = [self.order(run) for run in (runs[:1] if self.same_order else runs)]
        _skip(orders, self._rows, chunk.first_epoch)
        logs: list[tuple[Logs, Logs]] = []
        stops = _Stops(work.so_far, self.patience, self.objective)
        for _ in range(chunk.first_epoch, chunk.last_epoch):
            if is_to_end():
                return None
            members, epoch_logs = self._epoch(members, _next_order(orders, self._rows), device)
            validation_logs = {}
            if self.validation is not None:
                validation = self._put("validation", self.validation, device)
                validation_logs = self._program.evaluate(members, validation, self.batch_size)
            logs.append((epoch_logs, validation_logs))
            if self.patience is not None:
                stops.look(logs[-1], members)
                if stops.all():
                    break
            elif len(logs) > 1:
                jax.block_until_ready(logs[-2])  # no more than two epochs ahead
        history = _table(chunk, jax.device_get(logs), stops.epochs)
        end = State(*jax.device_get(members)[:3]).take(range(len(chunk.runs)))
        stops.put_back(end)
        return Trained(chunk, history, end, processor())

    def _members(
        self, runs: Sequence[Run], hyperparameters: Sequence[Mapping[str, float]], state: State | None
    ) -> Members:
        own = {
            name: in_float32(name, np.array([one[name] for one in hyperparameters]), self.model.optimizer)
            for name in hyperparameters[0]
        }
        members = jax.tree.map(lambda value: np.broadcast_to(value, (len(runs), *value.shape[1:])), self._one)
        stand = [self._fresh is None or self.stands(run) for run in runs]
        if "total_steps" in own:  # a schedule is one of this sweep's steps
            own["first_step"] = np.where(stand, self._steps_before, 0).astype(np.float32)
        members = members._replace(hyperparameters=members.hyperparameters | own)
        if state is not None:
            return members._replace(
                trainable=state.trainable, non_trainable=state.non_trainable, optimizer=state.optimizer
            )
        with self._one_at_a_time:  # Python's random state is one for all threads
            starts = [self.start(run) for run in runs] if len({*runs}) > 1 else [self.start(runs[0])] * len(runs)
        trainable, non_trainable = zip(*starts, strict=True)
        if self._fresh is not None and not all(stand):
            its_own = [array[0] for array in self._one.optimizer]
            optimizer = _stacked([its_own if stands else self._fresh for stands in stand])
            members = members._replace(optimizer=optimizer)
        return members._replace(trainable=_stacked(trainable), non_trainable=_stacked(non_trainable))

    def _epoch(self, members: Members, order: np.ndarray, device: Any) -> tuple[Members, Logs]:
        if not self._streamed:
            data = self._put("data", self.data, device)
            return self._program.train_epoch(members, data, order, self.batch_size)
        return self._program.train_streamed(members, self._parts(order, device), self.batch_size)

    def _parts(self, order: np.ndarray, device: Any) -> Iterator[tuple[Data, np.ndarray]]:
        """The rows in their order, as many at a time as memory holds well."""
        row_bytes = _bytes(self.data) / self._rows * (1 if order.ndim == 1 else len(order))
        share = self._available * _SHARE_FOR_DATA / len(self._devices)
        rows = max(1, int(share / row_bytes / self.batch_size)) * self.batch_size
        for begin in range(0, order.shape[-1], rows):
            part = order[..., begin : begin + rows]
            used, places = np.unique(part, return_inverse=True)
            data = jax.tree.map(lambda values: np.asarray(values[used]), self.data)  # noqa: B023  used at once
            yield jax.device_put(data, device), places.reshape(part.shape).astype(np.int32)

    def _bytes_for(self, size: int, hyperparameters: Mapping[str, float]) -> int:
        rows = min(self._rows, self.batch_size * 64) if self._streamed else self._rows
        order = np.arange(rows, dtype=np.int32)
        if not self.same_order:
            order = np.broadcast_to(order, (size, rows))
        data = jax.tree.map(lambda values: values[:rows], self.data)
        members = self._members([Run(0, 0)] * size, [hyperparameters] * size, None)
        try:
            return self._program.bytes_for(jax.device_put(members), jax.device_put(data), order, self.batch_size)
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                return 2 * self._available
            raise unmappable(error) from error

    def _put(self, name: str, data: Data, device: Any) -> Data:
        """`data` on a device; once for all chunks."""
        with self._one_at_a_time:
            if (name, device) not in self._on_device:
                self._on_device[name, device] = jax.device_put(data, device)
            return self._on_device[name, device]


def well_together(parameters: int) -> int:
    """How many runs of a model whose weights have so many bytes train well side by side on one core or accelerator."""
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and _COPIES * parameters > _BYTES_ALONE:
        return 1
    return max((_BYTES_IN_CACHE if on_cpu else _BYTES_ON_ACCELERATOR) // max(_COPIES * parameters, 1), _SMALLEST)


class UnmappableError(InputError):
    """A training step that JAX cannot map over members: of the model's, of a layer's or of its optimizer's."""


def unmappable(error: BaseException) -> UnmappableError:
    """That error of a training step, in words."""
    return UnmappableError(
        f"the model cannot be trained as a population{_in_part(error)}: it takes a training step that JAX can map over "
        f"many weights at once. {reason(error)}. Train its settings one at a time with model.fit"
    )


def _in_part(error: BaseException) -> str:
    """The innermost layer of the user's model that the error comes from, or its optimizer."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    parts = [part for frame in frames if isinstance(part := frame.f_locals.get("self"), (keras.Layer, keras.Optimizer))]
    parts = [part for part in parts if not isinstance(part, keras.Model)]
    if not parts:
        return ""
    if isinstance(parts[-1], keras.Optimizer):
        return f", for its optimizer ({type(parts[-1]).__name__})"
    return f", for its layer {parts[-1].name} ({type(parts[-1]).__name__})"


class _Stops:
    """Which runs of a chunk have ended early, after how many epochs and in what state."""

    def __init__(self, so_far: Sequence[tuple[float, int]], patience: int | None, objective: tuple[float, str]):
        self.epochs: list[int | None] = [None] * len(so_far)
        self._patience = patience
        self._objective = objective
        self._best, self._since = np.array(so_far).T
        self._states: dict[int, list[Arrays]] = {}
        self._done = 0

    def look(self, logs: tuple[Logs, Logs], members: Members) -> None:
        """Take an epoch's logs into account."""
        self._done += 1
        sign, name = self._objective
        values = logs[1][name[4:]] if name.startswith("val_") else logs[0][name]
        values = sign * np.asarray(values)[: len(self.epochs)]
        better = values < self._best
        self._best = np.where(better, values, self._best)
        self._since = np.where(better, 0, self._since + 1)
        ending = [i for i, n in enumerate(self._since) if self.epochs[i] is None and n >= (self._patience or np.inf)]
        if ending:
            state = jax.device_get(members[:3])
            for i in ending:
                self.epochs[i] = self._done
                self._states[i] = [[np.array(array[i]) for array in group] for group in state]

    def all(self) -> bool:
        """Whether none is left."""
        return None not in self.epochs

    def put_back(self, end: State) -> None:
        """Give the runs that ended early the state that they had then."""
        for i, state in self._states.items():
            for arrays, own in zip(end.groups(), state, strict=True):
                for array, value in zip(arrays, own, strict=True):
                    array[i] = value


def _table(chunk: Chunk, logs: list[tuple[Logs, Logs]], ends: list[int | None]) -> pd.DataFrame:
    """One row a run and epoch."""
    epochs, runs = len(logs), len(chunk.runs)
    columns: dict[str, Any] = {
        "setting": np.repeat([run.setting for run in chunk.runs], epochs),
        "seed": np.repeat([run.seed for run in chunk.runs], epochs),
        "epoch": np.tile(np.arange(chunk.first_epoch + 1, chunk.first_epoch + epochs + 1), runs),
    }
    for prefix, part in (("", 0), ("val_", 1)):
        for name in loss_first(logs[0][part]):
            values = np.array([epoch[part][name] for epoch in logs], np.float64)  # (epochs, size)
            columns[prefix + name] = values[:, :runs].T.ravel()
    table = pd.DataFrame(columns)
    if any(end is not None for end in ends):
        last = np.repeat([epochs if end is None else end for end in ends], epochs)
        table = table.loc[table.epoch - chunk.first_epoch <= last]
    return table


def _stacked(starts: Sequence[Arrays]) -> Arrays:
    """Arrays (…) of each of n as arrays (n, …)."""
    if all(start is starts[0] for start in starts):
        return [np.broadcast_to(array, (len(starts), *np.shape(array))) for array in starts[0]]
    return [np.stack(arrays) for arrays in zip(*starts, strict=True)]


def _next_order(orders: Sequence[np.random.RandomState | None], rows: int) -> np.ndarray:
    """(rows,) for one generator, (n, rows) for several; None keeps the rows as they are."""
    drawn = [np.arange(rows) if order is None else order.permutation(rows) for order in orders]
    return (drawn[0] if len(drawn) == 1 else np.stack(drawn)).astype(np.int32)


def _skip(orders: Sequence[np.random.RandomState | None], rows: int, epochs: int) -> None:
    for _ in range(epochs):
        _next_order(orders, rows)


def _workers() -> list[Any]:
    """A device for each thread. On the CPU all share one, which runs as many programs at once as there are cores."""
    if jax.default_backend() != "cpu":
        return list(jax.local_devices())
    return [None] * machine.cores()


def processor() -> str:
    """What this process trains on, in words: runs of one program have the same bits where this is the same."""
    if jax.default_backend() != "cpu":
        return jax.local_devices()[0].device_kind
    return machine.processor()


def free_memory() -> int:
    """Bytes that a program may still take on the machine, or on an accelerator."""
    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in stats:
            return (stats["bytes_limit"] - stats.get("bytes_in_use", 0)) * len(jax.local_devices())
    return machine.free_memory()


def _bytes(data: Any) -> int:
    return sum(array.nbytes for array in jax.tree.leaves(data))
