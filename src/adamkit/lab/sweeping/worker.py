"""A process of a Ray cluster that trains chunks: what it has compiled it keeps, for the chunks that come next.

Ray gives a worker process one task at a time, and the tasks of one sweep, or of several with the same model, to the
same processes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import keras
import ray

from adamkit.lab import machine
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping import shipping
from adamkit.lab.sweeping.chunks import Trained, Trainer, Work, free_memory
from adamkit.lab.sweeping.subject import Subject
from adamkit.lab.training.compiled_programs import keep_on_disk

_KEPT = 8  # models and trainers, those used last
_SHARE_OF_MEMORY = 0.5  # of what is free on the machine, for all of its workers


@dataclass(frozen=True)
class Sent:
    """What the chunks of one program have in common; it is put into the object store once.

    Attributes:
        model: As `shipping.packed` gives it, with the optimizer that the program needs.
        digest: Of `model`.
        batch_size: Rows a step.
        options: See `Subject`.
        memory: Bytes that a task may take; None: its share of half of what is free on its machine.
        quick: See `Subject`.
        cpus: Cores of a task.
        gpus: Accelerators of a task.
    """

    model: bytes
    digest: str
    batch_size: int
    options: Mapping[str, Any]
    memory: int | None
    quick: bool
    cpus: float
    gpus: float


_models: OrderedDict[str, keras.Model] = OrderedDict()  # by digest: a model keeps what was compiled of it
_trainers: OrderedDict[str, Trainer] = OrderedDict()


def chunk_size(
    key: str, references: list[Any], runs: int, hyperparameters: Mapping[str, float], most: int | None, workers: int
) -> int:
    """See `Trainer.chunk_size`; `key` and `references` as in `train`."""
    return _trainer(key, references).chunk_size(runs, hyperparameters, most, workers)


def train(key: str, references: list[Any], work: Work, size: int) -> Trained:
    """Train a chunk.

    Args:
        key: Of what is sent.
        references: Where the object store has a `Sent`, the data and the validation data; in a list, so that Ray hands
            them over unread.
        work: The chunk.
        size: Runs of its program.
    """
    return _trainer(key, references).train_one(work, size)


def _trainer(key: str, references: list[Any]) -> Trainer:
    if key in _trainers:
        _trainers.move_to_end(key)
        return _trainers[key]
    if keras.backend.backend() != "jax":
        raise InputError(f"workers need Keras's JAX backend. Received: KERAS_BACKEND={keras.backend.backend()!r}")
    keep_on_disk()
    sent, data, validation = ray.get(references)
    if sent.digest not in _models:
        _keep(_models, sent.digest, shipping.unpacked(sent.model))
    memory = sent.memory or _memory(sent)
    subject = Subject(_models[sent.digest], data, validation, sent.options, memory, quick=sent.quick)
    return _keep(_trainers, key, subject.trainer(sent.batch_size))


def _memory(sent: Sent) -> int:
    share = min(1.0, sent.gpus) if jax.default_backend() != "cpu" else min(1.0, sent.cpus / machine.cores())
    return int(free_memory() * _SHARE_OF_MEMORY * share)


def _keep(kept: OrderedDict, key: str, value: Any) -> Any:
    """Put it there; those that were used longest ago make room."""
    kept[key] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    return value
