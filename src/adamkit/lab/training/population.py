"""Many runs of one Keras model, trained side by side as one compiled program on JAX.

A population has n members. Every array of theirs has a leading axis of n: weights, moments, the state of random seeds
and of layers, and hyperparameters. What one member does with one batch is Keras's own `train_step`, a pure function on
the JAX backend; here it is mapped over the members (`jax.vmap`) and run over the batches of an epoch (`jax.lax.scan`).
No member's numbers depend on another's, but for rounding: matrix products of several may be added up in another order.
"""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from adamkit import rule
from adamkit.keras import Adam
from adamkit.keras.averages import in_training
from adamkit.keras.internals import compiled_parts, learning_rate_of, step_count_of, trained_by, without_scaler
from adamkit.lab import hyperparameters
from adamkit.lab.errors import InputError
from adamkit.lab.training.figures import figures
from adamkit.lab.training.numbers import Number
from adamkit.lab.training.tracing import TRACING
from adamkit.lab.training.windows import as_matrix_products, operations

Data = tuple[Any, Any, Any]  # x, y, sample weights: arrays (rows, …) or nested structures of them; None where absent
Weights = tuple[list[Any], list[Any]]  # trainable, non-trainable: arrays (n, …) in the order of the model's variables
Logs = dict[str, jax.Array]  # metric name: (n,) float32

_ATTRIBUTES = hyperparameters.names(of="adam", changes_program=False)  # Adam keeps them in no variable
# Operations of an epoch. Fast compilation makes a program up to a fifth slower and saves half of the time to compile,
# which is at least a quarter of a second; a core does 10¹⁰ operations a second.
_SMALL = 2e8
_SCHEDULE = (*hyperparameters.names(of="schedule"), "total_steps", "first_step")

# From here on XLA's own convolution, which needs a call for each step, beats the matrix products of a loop of one
# member: it takes a half to nine tenths of the time (seen on two busy cores at 16 to 590 million; `benchmarks.zoo`
# shows it). Some members side by side are faster still, up to the second number.
_OPERATIONS_OF_A_STEP, _OPERATIONS_ALONE = 1e7, 1e8
_PASSES = 3  # forwards, and backwards to the inputs and to the kernel


class Members(NamedTuple):
    """The state of n runs, in the order of the model's variables; each array (n, …)."""

    trainable: list[jax.Array]
    non_trainable: list[jax.Array]
    optimizer: list[jax.Array]  # step count, learning rate, moments
    hyperparameters: dict[str, Any]  # the optimizer's, and those of a learning-rate schedule; each (n,) float32


def members_of(model: keras.Model, n: int = 1) -> Members:
    """A population whose members all start as the model, compiled and built, stands."""
    with in_training(model):
        members = Members(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            [v.value for v in model.optimizer.variables],
            jax.tree.map(np.float32, _hyperparameters(model.optimizer)),
        )
    # Through NumPy: on the host a copy is cheaper than the compilation of small programs.
    repeated = jax.tree.map(lambda value: np.broadcast_to(value, (n, *np.shape(value))), jax.device_get(members))
    return jax.device_put(repeated)


def in_float32(name: str, values: np.ndarray, optimizer: Any) -> Any:
    """(n,) numbers of one hyperparameter as `Members.hyperparameters` has them: a β of Adam's in its three forms."""
    if name in _SCHEDULE:
        return np.asarray(values, np.float32)
    if not is_adam(optimizer):
        return Number.of(name, values)
    if not name.startswith("beta"):
        return np.asarray(values, np.float32)
    decays = zip(*(rule.Decay.of(float(value)) for value in values), strict=True)
    return rule.Decay(*(np.array(numbers, np.float32) for numbers in decays))


def scheduled(step: Any, hyperparameters: Mapping[str, Any]) -> Any:
    """The learning rate of a step, counted from 0, as `keras.optimizers.schedules.CosineDecay` has it.

    It rises from 0 over `warmup_steps` to `learning_rate`, and falls over the rest of `total_steps`, along half a
    cosine, to `cosine_alpha` of it (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, with one period).
    """
    factor: Any = 1.0
    rise = hyperparameters.get("warmup_steps", 0.0)
    if "cosine_alpha" in hyperparameters:
        alpha = hyperparameters["cosine_alpha"]
        share = jnp.clip((step - rise) / jnp.maximum(hyperparameters["total_steps"] - rise, 1.0), 0.0, 1.0)
        factor = alpha + (1 - alpha) * (1 + jnp.cos(jnp.pi * share)) / 2
    if "warmup_steps" in hyperparameters:
        factor = jnp.where(step < rise, step / jnp.maximum(rise, 1.0), factor)
    return hyperparameters["learning_rate"] * factor


def write_back(members: Members, index: int, model: keras.Model) -> None:
    """Give the model and its optimizer the state of one member."""
    variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    for group, arrays in zip(variables, members[:3], strict=True):
        for variable, array in zip(group, arrays, strict=True):
            variable.assign(np.asarray(array)[index])


class Program:
    """The compiled functions of one compiled model. They depend on its structure, loss and metrics, not its weights.

    Args:
        model: Compiled and built.
        quick: Compile fast rather than well: for short runs, most of whose time would be compilation.
    """

    def __init__(self, model: keras.Model, *, quick: bool = False):
        self._model = model
        self._key = _structure(model)
        model.reset_metrics()
        self._metrics_at_start = [np.asarray(v.value) for v in model.metrics_variables]
        # The last, smaller batch is a program of its own: it runs once an epoch, so it is compiled fast.
        self._quick = quick
        once = fast_compilation(0 if quick else 1)
        full = fast_compilation(1) if quick else None
        self._train_full = jax.jit(self._train_batches, donate_argnames="state", compiler_options=full)
        self._train_last = jax.jit(self._train_batches, donate_argnames="state", compiler_options=once)
        self._average = jax.jit(functools.partial(averages_of_members, model.optimizer), compiler_options=once)
        self._test = jax.jit(self._test_epoch, static_argnames="batch_size", compiler_options=once)
        self._compiling = threading.Lock()
        self._compiled: set[Any] = set()
        self._ready: dict[Any, Callable] = {}  # programs compiled by `prepare`
        self._evaluator: Program = self

    @classmethod
    def of(cls, model: keras.Model, *, quick: bool = False) -> "Program":
        """The model's program; kept with the model, so that further runs compile nothing."""
        program = getattr(model, "_adamkit_program", None)
        if program is None or program._key != _structure(model) or program._quick != quick:
            program = model._adamkit_program = cls(model, quick=quick)
        return program

    def evaluate_by(self, other: "Program") -> None:
        """Let the program of a model that differs in its optimizer alone evaluate, so that it is compiled once."""
        self._evaluator = other

    def prepare(
        self, members: Members, data: Data, order: np.ndarray, batch_size: int, validation: Data | None
    ) -> None:
        """Compile what `train_epoch` and `evaluate` call, at the same time, and fast where an epoch is small.

        How long the run will be makes no difference, so that the first epochs of a long run have the bits of a short
        one.

        Args:
            members: As in `train_epoch`; so are the next three.
            data: …
            order: …
            batch_size: …
            validation: Rows for `evaluate`, or None.
        """
        state = self._state(members)
        rows = order.shape[-1]
        full = rows // batch_size * batch_size
        calls: dict[str, tuple] = {}
        if full:
            batches = next(self._calls(_batches(order, batch_size), len(members.optimizer[0])))
            calls["full"] = (state, members.hyperparameters, data, batches)
        if full < rows:
            calls["last"] = (state, members.hyperparameters, data, order[None, ..., full:])
        missing = {key: args for name, args in calls.items() if (key := _key(name, args)) not in self._ready}
        compiled = {}
        with ThreadPoolExecutor(3) as threads:  # XLA compiles without Python's lock, while the next program is traced
            for key, args in missing.items():
                with TRACING:
                    lowered = self._train_full.lower(*args)
                is_small = key[0] == "last" or _operations(lowered) * (full // batch_size) < _SMALL
                options = fast_compilation() if is_small else {}
                compiled[key] = threads.submit(lowered.compile, compiler_options=options)
            weights = _weights(members)
            key = _key("test", (weights, validation), batch_size)
            if validation is not None and key not in self._ready:
                with TRACING:
                    lowered = self._test.lower(weights, validation, batch_size=batch_size)
                compiled[key] = threads.submit(lowered.compile)
        self._ready |= {key: program.result() for key, program in compiled.items()}

    def train_epoch(self, members: Members, data: Data, order: np.ndarray, batch_size: int) -> tuple[Members, Logs]:
        """One epoch of every member.

        Args:
            members: The state at its start; its memory is taken for the result.
            data: Rows on the device; shared by all members.
            order: (rows,) int32, the order in which the rows are used, or (n, rows), each member's own.
            batch_size: Rows a step; the last step has what is left.

        Returns:
            The state at its end, and the loss and metrics over the epoch.
        """
        state, logs = self._train(self._state(members), members.hyperparameters, data, order, batch_size)
        return _after(members, state), logs

    def train_streamed(
        self, members: Members, parts: Iterable[tuple[Data, np.ndarray]], batch_size: int
    ) -> tuple[Members, Logs]:
        """`train_epoch` on data in parts, each with an order of its own; all but the last of whole batches."""
        state, logs = self._state(members), {}
        for data, order in parts:
            state, logs = self._train(state, members.hyperparameters, data, order, batch_size)
        return _after(members, state), logs

    def evaluate(self, members: Members, data: Data, batch_size: int) -> Logs:
        """Loss and metrics of every member on `data`."""
        return self.evaluate_weights(self._evaluated(members), data, batch_size)

    def evaluate_weights(self, weights: Weights, data: Data, batch_size: int) -> Logs:
        """Loss and metrics on `data` of weights that are to be used as they are."""
        by = self._evaluator
        return by._call("test", by._test, weights, data, batch_size=batch_size)

    def _evaluated(self, members: Members) -> Weights:
        """What `evaluate` looks at: of schedule-free steps the average."""
        if not is_schedule_free(self._model.optimizer):
            return _weights(members)
        return self._average(members.trainable, members.optimizer), members.non_trainable

    def bytes_for(self, members: Members, data: Data, order: np.ndarray, batch_size: int) -> int:
        """Bytes that an epoch needs on the device beside the data, as XLA plans it; this compiles the program."""
        batches = order[None] if order.shape[-1] < batch_size else _batches(order, batch_size)
        batches = next(self._calls(batches, len(members.optimizer[0])))
        with TRACING:
            lowered = self._train_full.lower(self._state(members), members.hyperparameters, data, batches)
        plan: Any = lowered.compile().memory_analysis()
        state = sum(array.nbytes for array in jax.tree.leaves(members))
        return state + plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes

    def _state(self, members: Members) -> tuple:
        return (*members[:3], self._metrics(len(members.optimizer[0])))

    def _train(self, state: tuple, hyperparameters: dict, data: Data, order: np.ndarray, batch_size: int) -> Any:
        rows = order.shape[-1]
        full = rows // batch_size * batch_size
        logs = {}
        if full:
            for batches in self._calls(_batches(order, batch_size), len(state[2][0])):
                state, logs = self._call("full", self._train_full, state, hyperparameters, data, batches)
        if full < rows:
            state, logs = self._call("last", self._train_last, state, hyperparameters, data, order[None, ..., full:])
        return state, logs

    def _calls(self, batches: np.ndarray, n: int) -> Iterator[np.ndarray]:
        """The batches of an epoch as the program is called with them: all at once, or one after the other."""
        if n == 1 and self._convolves(batches.shape[-1], _OPERATIONS_OF_A_STEP):
            yield from np.split(batches, len(batches))
        else:
            yield batches

    def is_better_alone(self, batch_size: int) -> bool:
        """Whether members are trained one after the other, since their convolutions are large."""
        return self._convolves(batch_size, _OPERATIONS_ALONE)

    def _convolves(self, batch_size: int, at_least: float) -> bool:
        rows = _PASSES * batch_size
        return jax.default_backend() == "cpu" and operations(self._model) * rows > at_least

    def _call(self, name: str, function: Any, *args: Any, **static: Any) -> Any:
        """Call a compiled function; several threads may do so, and only the first of them compiles it."""
        key = _key(name, args, *static.values())
        if key in self._ready:
            return self._ready[key](*args)
        if key in self._compiled:
            return function(*args, **static)
        with self._compiling:
            if key not in self._compiled:
                with TRACING:
                    lowered = function.lower(*args, **static)
                lowered.compile()  # kept by JAX, as what was traced is; other programs are traced meanwhile
                self._compiled.add(key)
        return function(*args, **static)

    def _train_batches(self, state: tuple, hyperparameters: dict, data: Data, batches: jax.Array) -> tuple[tuple, Logs]:
        optimizer = without_scaler(self._model.optimizer)
        # One member alone is not mapped, nor is its axis in the loop: XLA is faster at products of matrices than of
        # stacks of one, and copies what changes its shape in a loop.
        alone = len(state[2][0]) == 1
        if alone:
            state, hyperparameters = _without_axis((state, hyperparameters))
            batches = batches.reshape(len(batches), -1)

        def step(state, indices):
            batch = jax.tree.map(lambda rows: rows[indices], data)
            if alone:
                return member_step(state, hyperparameters, batch)
            batch_axis = None if indices.ndim == 1 else 0
            return jax.vmap(member_step, in_axes=(0, 0, batch_axis))(state, hyperparameters, batch)

        def member_step(state, hyperparameters, batch):
            if "learning_rate" in hyperparameters:
                step_count, rate = _places(self._model.optimizer)
                step = state[2][step_count].astype("float32") - hyperparameters.get("first_step", 0.0)
                now = scheduled(step, hyperparameters)
                state[2][rate] = now.astype(state[2][rate].dtype)
            own = {name: value for name, value in hyperparameters.items() if name not in _SCHEDULE}
            with _given(optimizer, own), as_matrix_products(in_loop=not alone or len(batches) > 1):
                logs, state = self._model.train_step(state, batch)
            for number in own.values():
                if isinstance(number, Number) and not number.used:
                    raise InputError(f"{number.name} changes nothing in a step of {type(optimizer).__name__}")
            return tuple(map(list, state)), self._own_logs(logs)

        state, logs = _scan(step, state, batches)
        if alone:
            state, logs = _with_axis((state, logs))
        return state, self._logs(state[3], logs)

    def _test_epoch(self, weights: Weights, data: Data, batch_size: int) -> Logs:
        n = len(jax.tree.leaves(weights)[0])
        start, (trainable, non_trainable) = self._metrics(n), weights
        if n == 1:
            start, trainable, non_trainable = _without_axis((start, trainable, non_trainable))

        def step(metrics, indices):
            batch = jax.tree.map(lambda rows: rows[indices], data)
            if n == 1:
                return member_step(metrics, trainable, non_trainable, batch)
            return jax.vmap(member_step, in_axes=(0, 0, 0, None))(metrics, trainable, non_trainable, batch)

        def member_step(metrics, trainable, non_trainable, batch):
            with as_matrix_products():
                logs, (_, _, metrics) = self._model.test_step((trainable, non_trainable, metrics), batch)
            return list(metrics), self._own_logs(logs)

        rows = jax.tree.leaves(data)[0].shape[0]
        order = jnp.arange(rows, dtype="int32")
        full = rows // batch_size * batch_size
        metrics, logs = start, {}
        if full:
            metrics, logs = _scan(step, metrics, order[:full].reshape(-1, batch_size))
        if full < rows:
            metrics, logs = _scan(step, metrics, order[None, full:])
        if n == 1:
            metrics, logs = _with_axis((metrics, logs))
        return self._logs(metrics, logs)

    def _metrics(self, n: int) -> list[Any]:
        return [np.broadcast_to(value, (n, *value.shape)) for value in self._metrics_at_start]

    def _own_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """What a `train_step` that the user wrote reports and no metric holds; Keras shows the last batch's."""
        return {} if set(logs) == set(self._model.get_metrics_result()) else figures(logs)

    def _logs(self, metrics: list[jax.Array], last_batch: Logs) -> Logs:
        def result(values):
            with keras.StatelessScope(state_mapping=zip(self._model.metrics_variables, values, strict=True)):
                return self._model.get_metrics_result()

        return last_batch or jax.vmap(lambda values: figures(result(values)))(metrics)


def _weights(members: Members) -> Weights:
    """What an evaluation takes: the same for all optimizers."""
    return members.trainable, members.non_trainable


def _after(members: Members, state: tuple) -> Members:
    return members._replace(trainable=state[0], non_trainable=state[1], optimizer=state[2])


def _batches(order: np.ndarray, batch_size: int) -> np.ndarray:
    """Whole batches of (rows,) or (n, rows) as (batches, batch_size) or (batches, n, batch_size)."""
    full = order.shape[-1] // batch_size * batch_size
    return np.moveaxis(order[..., :full].reshape(*order.shape[:-1], -1, batch_size), -2, 0)


def _without_axis(tree: Any) -> Any:
    return jax.tree.map(lambda array: jnp.squeeze(array, 0), tree)


def _with_axis(tree: Any) -> Any:
    return jax.tree.map(lambda array: jnp.expand_dims(array, 0), tree)


def _scan(step: Callable, state: Any, batches: jax.Array) -> tuple[Any, Any]:
    """`step` over `batches`, one or more; also what it returned for the last."""
    if len(batches) == 1:
        return step(state, batches[0])
    state, outputs = jax.lax.scan(step, state, batches)
    return state, jax.tree.map(lambda values: values[-1], outputs)


def _key(name: str, args: Any, *static: Any) -> tuple:
    """Differs where a compiled function does not fit: by shapes, dtypes and the device."""
    leaves = jax.tree.leaves(args)
    devices = next((leaf.devices() for leaf in leaves if isinstance(leaf, jax.Array)), None)
    return (
        name,
        frozenset(devices or ()),
        jax.tree.structure(args),
        *((leaf.shape, leaf.dtype) for leaf in leaves),
        *static,
    )


def _operations(lowered: Any) -> float:
    """Floating-point operations of a program, as XLA counts them: of a loop those of one round."""
    counted = lowered.cost_analysis()
    return float((counted or {}).get("flops", math.inf))


def fast_compilation(level: int = 1) -> dict[str, Any]:
    """Options that halve the time to compile on the CPU, for programs whose own time does not count.

    Level 0 takes a fifth of the time, and its programs four times as long; level 1 half, and its programs half again.
    Who has set `jax_disable_most_optimizations` has said what they want.
    """
    if jax.default_backend() != "cpu" or jax.config.values.get("jax_disable_most_optimizations"):
        return {}
    return _accepted_options(level)


@functools.cache
def _accepted_options(level: int) -> dict[str, Any]:
    """Those of `fast_compilation`, if this release of XLA has them."""
    options = {"xla_backend_optimization_level": level, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def _structure(model: keras.Model) -> tuple:
    """Changes when the compiled functions no longer fit: after `compile`, or when layers are frozen or added."""
    return (
        model.optimizer,
        *compiled_parts(model),
        tuple(id(v) for v in model.trainable_variables),
        tuple(id(v) for v in model.non_trainable_variables),
    )


def is_adam(optimizer: Any) -> bool:
    """Whether it is adamkit's, also inside a loss scaler: its numbers are traced in the forms that its rule takes."""
    return isinstance(without_scaler(optimizer), Adam)


def is_schedule_free(optimizer: Any) -> bool:
    """Whether the weights that its steps end with are not those that are to be used."""
    return getattr(without_scaler(optimizer), "schedule_free", False)


def finds_rate(optimizer: Any) -> bool:
    """Whether its learning rate is found while training."""
    return getattr(without_scaler(optimizer), "finds_rate", False)


def place_of_rate(optimizer: Any) -> int:
    """The place of the learning rate among the optimizer's variables."""
    return _places(optimizer)[1]


def averages_of_members(optimizer: Any, trainable: list[Any], state: list[Any]) -> list[Any]:
    """Of schedule-free steps the weights that are to be used, from those of all members and the optimizer's state."""
    own = without_scaler(optimizer)
    variables = [*trained_by(own), *optimizer.variables]

    def average(trainable, state):
        with keras.StatelessScope(state_mapping=list(zip(variables, [*trainable, *state], strict=True))):
            return own.averages()

    return jax.vmap(average)(trainable, state)


def _places(optimizer: Any) -> tuple[int, int]:
    """Of step count and learning rate among the optimizer's variables; a loss scaler has its own before them."""
    variables = [id(variable) for variable in optimizer.variables]
    return variables.index(id(step_count_of(optimizer))), variables.index(id(learning_rate_of(optimizer)))


def _hyperparameters(optimizer: Any) -> dict[str, Any]:
    """Those of Adam, so that whichever of them differ, the program is one; of another, the caller says which differ."""
    values: dict[str, Any] = {}
    for name in _ATTRIBUTES if is_adam(optimizer) else ():
        value = getattr(without_scaler(optimizer), name)
        if value is not None:
            values[name] = rule.Decay.of(value) if name.startswith("beta") else value
    return values


@contextlib.contextmanager
def _given(optimizer: Any, hyperparameters: dict[str, Any]) -> Iterator[None]:
    """The optimizer with traced numbers for its hyperparameters, while its step is traced."""
    own = {name: getattr(optimizer, name) for name in hyperparameters}
    try:
        for name, value in hyperparameters.items():
            object.__setattr__(optimizer, name, value)  # not through Keras, which would track the tracers
        yield
    finally:
        for name, value in own.items():
            object.__setattr__(optimizer, name, value)
