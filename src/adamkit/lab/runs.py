"""A training run from names and numbers alone, so that it can be written down and repeated to the same bits."""

import contextlib
import hashlib
import math
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adamkit import moments, rule
from adamkit.lab import data as data_sets
from adamkit.lab.errors import InputError, nearest
from adamkit.lab.run_folder import RunFolder

if TYPE_CHECKING:
    import keras

    from adamkit.lab.train import Epoch, TrainResult

_BETWEEN_WRITES = 0.5  # seconds


@dataclass(frozen=True)
class Settings:
    """What a run does. Everything has a default; together they are the example.

    Attributes:
        data: See `adamkit.lab.data.load`.
        target: The column or array of a file to predict.
        model: See `adamkit.lab.models.build`.
        loss: Keras's name of a loss; None: what fits the target.
        metrics: Keras's names of metrics; None: what fits the target.
        learning_rate: As in `adamkit.keras.Adam`; so are the next seven.
        beta_1: …
        beta_2: …
        epsilon: …
        weight_decay: …
        amsgrad: …
        epsilon_hat: …
        moment_dtype: …
        epochs: How often to go through the data, >= 1.
        batch_size: Rows a step, >= 1.
        validation_split: The share of the rows to validate on, 0 <= share < 1.
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of the initial weights, the order of the rows, dropout and the random example.
        backend: "jax", "tensorflow" or "torch".
    """

    data: str = "random"
    target: str | None = None
    model: str = "mlp"
    loss: str | None = None
    metrics: Sequence[str] | None = None
    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    amsgrad: bool = False
    epsilon_hat: bool = False
    moment_dtype: str = "float32"
    epochs: int = 50
    batch_size: int = 32
    validation_split: float = 0.0
    shuffle: bool = True
    seed: int = 0
    backend: str = "jax"

    def __post_init__(self):
        try:
            for name in ("learning_rate", "epsilon", "weight_decay"):
                rule.check_number(name, getattr(self, name))
            for name in ("beta_1", "beta_2", "validation_split"):
                rule.check_number(name, getattr(self, name), below=1)
            for name in ("amsgrad", "epsilon_hat", "shuffle"):
                rule.check_flag(name, getattr(self, name))
            moments.check_format("moment_dtype", self.moment_dtype)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
                raise InputError(f"{name} must be a whole number >= {least} and < 2³². Received: {name}={value!r}")
        if self.backend not in BACKENDS:
            raise InputError(
                f"backend must be one of {', '.join(BACKENDS)}. Received: {self.backend!r}."
                f"{nearest(self.backend, BACKENDS)}"
            )

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Settings":
        """The settings in a `run.json`; InputError where one is unknown."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in record["settings"] if name not in known]
        if unknown:
            raise InputError(f"the run's settings must be among {', '.join(known)}. Received: {', '.join(unknown)}")
        return cls(**record["settings"])


BACKENDS = ("jax", "tensorflow", "torch")


@dataclass(frozen=True)
class Prepared:
    """Data and a compiled model, ready to train.

    Attributes:
        settings: What they were made from.
        train: The rows to train on.
        validation: The rows to validate on, or None.
        model: The compiled model.
        record: What `run.json` says of all this.
    """

    settings: Settings
    train: data_sets.Dataset
    validation: data_sets.Dataset | None
    model: "keras.Model"
    record: dict[str, Any]


def prepare(settings: Settings) -> Prepared:
    """Load the data and make the model.

    Keras must have been told `settings.backend` before it was imported (environment variable `KERAS_BACKEND`).

    Raises:
        InputError: Something that `settings` names is not there or does not fit.
        OSError: A download failed, or a file cannot be read.
    """
    import keras

    from adamkit.keras import Adam
    from adamkit.lab import models

    if keras.backend.backend() != settings.backend:
        raise InputError(f"Keras runs on {keras.backend.backend()} in this process, not on {settings.backend}")
    dataset = data_sets.load(settings.data, target=settings.target, seed=settings.seed)
    train, validation = data_sets.split(dataset, settings.validation_split)
    scaling = None
    if dataset.standardize:
        train, validation, mean, scale = data_sets.standardize(train, validation)
        scaling = {"mean": mean.tolist(), "scale": scale.tolist()}
    _make_deterministic(settings)
    model = models.build(settings.model, train)
    loss, metrics = models.objective(train, settings.loss, settings.metrics, model=model)
    optimizer = Adam(
        learning_rate=settings.learning_rate,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
        amsgrad=settings.amsgrad,
        weight_decay=settings.weight_decay or None,
        epsilon_hat=settings.epsilon_hat,
        moment_dtype=settings.moment_dtype,
    )
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    record = {
        "settings": asdict(settings),
        "data": {
            "fingerprint": dataset.fingerprint,
            "rows": len(train),
            "validation_rows": len(validation) if validation else 0,
            "row_shape": list(dataset.row_shape),
            "target": dataset.target,
            "class_names": dataset.class_names and list(dataset.class_names),
            "feature_names": dataset.feature_names and list(dataset.feature_names),
            "standardized": scaling,
        },
        "model": {"parameters": model.count_params(), "fingerprint": _fingerprint_of_file(settings.model)},
        "loss": loss,
        "metrics": metrics,
        "versions": _versions(settings.backend),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return Prepared(settings, train, validation, model, record)


def again(folder: RunFolder, **changes: Any) -> Settings:
    """The settings of an earlier run, with `changes`; InputError where its record is damaged."""
    return replace(Settings.of(folder.read_record()), **changes)


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Why a repeated run may not give the same bits, from the two runs' records: a line each."""
    lines = []
    if earlier.get("data", {}).get("fingerprint") != now["data"]["fingerprint"]:
        lines.append("the data differ from those of the earlier run")
    if earlier.get("model", {}).get("fingerprint") != now["model"]["fingerprint"]:
        lines.append("the model's file differs from that of the earlier run")
    for name, release in now["versions"].items():
        before = earlier.get("versions", {}).get(name)
        if before != release:
            lines.append(f"{name} is {release} and was {before}")
    if earlier.get("machine") != now["machine"]:
        lines.append(f"the machine is {now['machine']} and was {earlier.get('machine')}")
    return lines


def execute(prepared: Prepared, folder: RunFolder, on_epoch: Callable[["Epoch"], None]) -> "TrainResult":
    """Train, and keep `folder` up to date.

    `run.json` is there from the start, with status "running"; the history is written as the run goes on, at most twice
    a second; the model at the end, also after Ctrl-C. A write that fails on the way is tried again at the end, so that
    a disk that is full for a while loses nothing.

    Raises:
        OSError: The folder could not be written, at the start or at the end.
    """
    import pandas as pd

    from adamkit.lab.train import train

    settings = prepared.settings
    record = prepared.record | {"status": "running", "started": datetime.now(UTC).isoformat(timespec="seconds")}
    folder.write_record(record)
    rows: list[Epoch] = []
    written = -math.inf

    def keep(row: "Epoch") -> None:
        nonlocal written
        rows.append(row)
        if time.monotonic() - written >= _BETWEEN_WRITES:
            written = time.monotonic()
            with contextlib.suppress(OSError):  # tried again with the next row, and at the end
                folder.write_history(pd.DataFrame(rows))
        on_epoch(row)

    validation = prepared.validation
    result = train(
        prepared.model,
        prepared.train.x,
        prepared.train.y,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        validation_data=None if validation is None else (validation.x, validation.y),
        shuffle=settings.shuffle,
        seed=settings.seed,
        on_epoch=keep,
    )
    folder.write_history(result.history)
    folder.write_model(result.model)
    folder.write_record(
        record
        | {
            "status": "interrupted" if result.interrupted else "finished",
            "seconds": round(result.seconds, 3),
            "epochs_done": len(result.history),
        }
    )
    return result


def _make_deterministic(settings: Settings) -> None:
    if settings.backend == "jax":
        # Keras draws its seeds from here. `keras.utils.set_random_seed` does the same and then imports TensorFlow,
        # if there is one, which takes seconds.
        random.seed(settings.seed)
        np.random.seed(settings.seed)
        return
    import keras

    keras.utils.set_random_seed(settings.seed)
    if settings.backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _fingerprint_of_file(name: str) -> str | None:
    """SHA-256 of a model's file; None for a model by name."""
    path = Path(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".keras" and path.is_file() else None


def _versions(backend: str) -> dict[str, str]:
    names = {"jax": "jax", "tensorflow": "tensorflow-cpu", "torch": "torch"}
    found = {"python": platform.python_version()}
    for name in ("adamkit", "keras", "numpy", names[backend]):
        found[name] = version(name)
    return found
