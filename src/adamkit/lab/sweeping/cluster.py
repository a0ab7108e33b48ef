"""Sweeps on a Ray cluster: a chunk is a task, what its runs have in common is sent once, and results come back here.

What comes back is written by this process, with the code and into the files of a sweep on one machine. Needs Ray, and
no other framework before a session begins.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import math
import os
import platform
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from adamkit.lab import machine
from adamkit.lab.errors import InputError, reason
from adamkit.lab.sweeping.executors import CannotTrainError, Failed

if TYPE_CHECKING:
    from adamkit.lab.sweeping import spaces
    from adamkit.lab.sweeping.chunks import Trained, Work
    from adamkit.lab.sweeping.subject import Subject

ATTEMPTS = 3  # at a chunk
_AHEAD = 2  # tasks that are handed to Ray, for each that can be at work
_BETWEEN_COUNTS = 5.0  # seconds, of the machines
_SAME = ("adamkit", "jax", "jaxlib", "keras", "numpy")  # packages whose versions must be those of this process


@dataclass(frozen=True)
class Ray:
    """Trains sweeps and comparisons on a Ray cluster; for `executor=` of `sweep` and `compare`.

    Each chunk of settings is a task. A worker process compiles a program once and keeps it. Needs Ray
    (`pip install 'adamkit[ray]'`), and on all machines the same versions of Python, Ray, adamkit, JAX, Keras and NumPy.

    Args:
        address: `HOST:PORT` of a cluster that this machine is part of, or `"auto"` for the one that runs here. None:
            the one that this process is connected to, or that `RAY_ADDRESS` names, as in a job of Ray's; else one on
            this machine alone, which ends with the sweep.
        cpus_per_task: Cores that are set aside for a chunk, > 0.
        gpus_per_task: Accelerators that are set aside for a chunk, 0 <= gpus_per_task <= 1.

    Raises:
        InputError: An argument is out of range.
        ModuleNotFoundError: Ray is not installed.

    Example:
        >>> from adamkit import lab
        >>> lab.Ray(cpus_per_task=2)
        Ray(address=None, cpus_per_task=2, gpus_per_task=0)
    """

    address: str | None = None
    cpus_per_task: float = 1
    gpus_per_task: float = 0

    def __post_init__(self):
        if not isinstance(self.address, (str, type(None))) or (self.address or "").startswith("ray://"):
            raise InputError(
                f"address must be HOST:PORT of a cluster that this machine is part of, or auto; what runs elsewhere is "
                f"a job of Ray's. Received: address={self.address!r}"
            )
        _check_share("cpus_per_task", self.cpus_per_task, "> 0", lambda value: 0 < value < math.inf)
        _check_share("gpus_per_task", self.gpus_per_task, ">= 0 and <= 1", lambda value: 0 <= value <= 1)
        _imported()

    @contextlib.contextmanager
    def connected(self) -> Iterator["_Session"]:
        """The cluster, joined or begun for the block.

        Raises:
            InputError: It cannot be reached, or has other versions.
        """
        ray = _imported()
        is_own = not ray.is_initialized()
        if is_own:
            self._start(ray)
        try:
            yield _Session(self, ray)
        finally:
            if is_own:
                ray.shutdown()

    def _start(self, ray: Any) -> None:
        options: dict[str, Any] = {"address": self.address}
        if self.address is None and not os.environ.get("RAY_ADDRESS"):
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is to be sent anywhere
            options = {"address": "local", "num_cpus": machine.cores(), "include_dashboard": False}
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with warnings.catch_warnings():
                # JAX warns of what a child does after a fork; here it becomes another program at once.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, ConnectionError, ValueError) as error:
            raise InputError(
                f"executor must be a Ray cluster that can be reached, with Ray {ray.__version__} and Python "
                f"{platform.python_version()}. Received: address={self.address!r}, {reason(error)}"
            ) from error
        finally:
            if is_main and handler is not None:
                signal.signal(signal.SIGTERM, handler)  # Ray ends the process at once


class _Session:
    """A cluster to train on; see `executors.Session`."""

    def __init__(self, executor: Ray, ray: Any):
        self.executor, self.ray = executor, ray
        self._check_versions()
        from adamkit.lab.sweeping import shipping, worker

        self._shipping, self._worker = shipping, worker
        needs = {"num_cpus": executor.cpus_per_task, "num_gpus": executor.gpus_per_task, "max_retries": 0}
        self.train, self.chunk_size = (ray.remote(**needs)(task) for task in (worker.train, worker.chunk_size))
        self._data: dict[int, tuple[Any, Any]] = {}
        self._lock = threading.Lock()
        self._slots, self._counted = 0, -math.inf

    def chunks(self, subject: "Subject", setting: "spaces.Setting") -> "_Chunks":
        """See `executors.Session`."""
        model = self._shipping.packed(subject.model)
        sent = self._worker.Sent(
            model, hashlib.sha256(model).hexdigest(), subject.batch_size(setting), subject.options, subject.memory,
            subject.quick, self.executor.cpus_per_task, self.executor.gpus_per_task,
        )  # fmt: skip
        references = [self.ray.put(sent), self._put(subject.data), self._put(subject.validation)]
        return _Chunks(self, references)

    def _put(self, data: Any) -> Any:
        """Where the object store has it: once for all sweeps of a session."""
        with self._lock:
            if id(data) not in self._data:
                self._data[id(data)] = data, self.ray.put(data)  # kept, so that no other gets this id
            return self._data[id(data)][1]

    def slots(self) -> int:
        """How many tasks can be at work; at least 1, for a cluster may grow."""
        with self._lock:
            if time.monotonic() - self._counted > _BETWEEN_COUNTS:
                self._slots, self._counted = sum(map(self._slots_of, self._nodes())), time.monotonic()
            return max(1, self._slots)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _slots_of(self, node: Mapping[str, Any]) -> int:
        has, executor = node["Resources"], self.executor
        wanted = {"CPU": executor.cpus_per_task, "GPU": executor.gpus_per_task}
        return min(int(has.get(name, 0) / each) for name, each in wanted.items() if each)

    def _check_versions(self) -> None:
        """InputError unless all machines that would train have the versions of this process."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self._nodes() if self._slots_of(node)]
        if not nodes:
            executor = self.executor
            warnings.warn(
                f"no machine of the cluster has {executor.cpus_per_task} cores and {executor.gpus_per_task} "
                "accelerators for a task yet; the sweep waits for one",
                RuntimeWarning,
                stacklevel=5,
            )

        # A function inside of another one goes along as code: a machine may be without adamkit.
        def versions(names: tuple[str, ...]) -> dict[str, str]:
            found = {"python": platform.python_version()}
            for name in names:
                try:
                    found[name] = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    found[name] = "none"
            return found

        asked = self.ray.remote(num_cpus=0, max_retries=ATTEMPTS)(versions)
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        answers = [asked.options(scheduling_strategy=one).remote(_SAME) for one in on]
        here = versions(_SAME)
        for node, answer in zip(nodes, answers, strict=True):
            try:
                there = self.ray.get(answer)
            except self.ray.exceptions.RayError:  # it has gone meanwhile
                continue
            differ = [what for what in here if there[what] != here[what]]
            others = [f"{what} {there[what]} rather than {here[what]}" for what in differ]
            if others:
                raise InputError(
                    "all machines of a cluster must have the versions of this process. Received: "
                    f"{node['NodeManagerHostname']} with {', '.join(others)}"
                )


class _Chunks:
    """See `executors.Chunks`."""

    def __init__(self, session: _Session, references: list[Any]):
        self._session, self._references = session, references
        self._key = uuid.uuid4().hex

    def chunk_size(self, runs: int, hyperparameters: Mapping[str, float], most: int | None = None) -> int:
        """What a worker says: its memory and caches count."""
        session = self._session
        for attempt in range(1, ATTEMPTS + 1):
            task = session.chunk_size.remote(self._key, self._references, runs, hyperparameters, most, session.slots())
            try:
                return session.ray.get(task)
            except session.ray.exceptions.RayError as error:
                _raise_if_wrong(error)
                if attempt == ATTEMPTS:
                    raise CannotTrainError(_described(error)) from error
        raise AssertionError  # not reached

    def train(
        self, works: "Iterable[Work]", size: int, interrupted: Callable[[], bool]
    ) -> "Iterator[Trained | Failed]":
        """See `executors.Chunks`. A chunk whose worker dies is given to another one."""
        ray, session = self._session.ray, self._session
        waiting = iter(works)
        working: dict[Any, tuple[Any, int]] = {}  # by task: what is trained, and the attempt

        def submit(work: Any, attempt: int) -> None:
            working[session.train.remote(self._key, self._references, work, size)] = work, attempt

        try:
            while not interrupted():
                while len(working) < _AHEAD * session.slots() and (work := next(waiting, None)) is not None:
                    submit(work, 1)
                if not working:
                    return
                done, _ = ray.wait(list(working), timeout=0.1)  # awake for Ctrl-C
                for task in done:
                    work, attempt = working.pop(task)
                    try:
                        yield ray.get(task)
                    except ray.exceptions.RayError as error:
                        _raise_if_wrong(error)
                        if attempt < ATTEMPTS:
                            submit(work, attempt + 1)
                        else:
                            yield Failed(work.chunk, _described(error))
        finally:
            for task in working:
                ray.cancel(task, force=True)


def _raise_if_wrong(error: Any) -> None:
    """What a user has to put right is no chunk's own."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, InputError):
        raise cause from None


def _described(error: Any) -> str:
    """A failure in a line."""
    cause = getattr(error, "cause", None)
    return reason(cause if isinstance(cause, BaseException) else error)


def _check_share(name: str, value: Any, accepted: str, fits: Callable[[Any], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(value):
        raise InputError(f"{name} must be a number {accepted}. Received: {name}={value!r}")


def _imported() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Ray is not installed: pip install 'adamkit[ray]'", name=error.name) from error
    return ray
