"""A training run from names and numbers alone, so that it can be written down and repeated to the same bits."""

import contextlib
import hashlib
import importlib
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, make_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adamkit import moments, rule
from adamkit.guards import check_nonfinite
from adamkit.lab import data as data_sets
from adamkit.lab import references, trust
from adamkit.lab.disk import RECORD
from adamkit.lab.errors import InputError, nearest, reason, shown
from adamkit.lab.hyperparameters import HYPERPARAMETERS, names
from adamkit.lab.runs.folder import DONE, RunFolder

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from adamkit.lab.logs.watching import Watcher
    from adamkit.lab.training.keeping import Observer
    from adamkit.lab.training.trainer import Epoch, TrainResult

_BETWEEN_WRITES = 0.5  # seconds
_SHARE_OF_WRITES = 0.05  # of the time, at most
_ON_REQUEST = "asked to stop, by Ctrl-C or a signal"


# A field for each that Adam or its training has, with its default: whoever declares one more has it here too.
_OWN = [known for known in HYPERPARAMETERS.values() if known.of != "other"]
_Hyperparameters = make_dataclass(
    "_Hyperparameters", [(known.name, known.type, known.default) for known in _OWN], frozen=True
)


@dataclass(frozen=True)
class Settings(_Hyperparameters):
    """What a run does. Everything has a default; together they are the example.

    The hyperparameters of `adamkit.lab.hyperparameters` are attributes too: `learning_rate`, `beta_1`, `batch_size` …

    Attributes:
        data: See `adamkit.lab.data.load`.
        target: The column or array of a file to predict.
        model: See `adamkit.lab.models.build`.
        loss: Keras's name of a loss; None: what fits the target.
        metrics: Keras's names of metrics; None: what fits the target.
        epsilon_hat: As in `adamkit.keras.Adam`.
        moment_dtype: As in `adamkit.keras.Adam`.
        on_nonfinite: As in `adamkit.keras.Adam`.
        epochs: How often to go through the data, >= 1.
        validation_split: The share of the rows to validate on, 0 <= share < 1.
        test_split: The share of the rows to measure once at the end, 0 <= share < 1.
        split: Which rows these are: "random", "last" or "shuffled"; see `adamkit.lab.data.partition`.
        encode: Whether text, dates and missing values of tables become numbers; see `adamkit.lab.data.load_parts`.
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of the initial weights, the order of the rows, dropout and the random example.
        backend: "jax", "tensorflow" or "torch".
    """

    data: str = "random"
    target: str | None = None
    model: str = "mlp"
    loss: str | None = None
    metrics: Sequence[str] | None = None
    epsilon_hat: bool = False
    moment_dtype: str = "float32"
    on_nonfinite: str = "propagate"
    epochs: int = 50
    validation_split: float = 0.0
    test_split: float = 0.0
    split: str = "random"
    encode: bool = True
    shuffle: bool = True
    seed: int = 0
    backend: str = "jax"

    def __post_init__(self):
        for name in ("data", "model", "target", "loss"):
            value = getattr(self, name)
            if value is None and name in ("target", "loss"):
                continue
            if not isinstance(value, str) or not value or not _is_name(value):
                raise InputError(f"{name} must be a name. Received: {name}={shown(value)}")
        names = () if self.metrics is None else self.metrics
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise InputError(f"metrics must be a list of names. Received: metrics={names!r}")
        for known in _OWN:
            known.check(getattr(self, known.name))
        try:
            for name in ("validation_split", "test_split"):
                rule.check_number(name, getattr(self, name), below=1)
            for name in ("epsilon_hat", "encode", "shuffle"):
                rule.check_flag(name, getattr(self, name))
            moments.check_format("moment_dtype", self.moment_dtype)
            check_nonfinite("on_nonfinite", self.on_nonfinite)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
        for name, least in (("epochs", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
                raise InputError(f"{name} must be a whole number >= {least} and < 2³². Received: {name}={shown(value)}")
        for name, accepted in (("split", data_sets.METHODS), ("backend", BACKENDS)):
            value = getattr(self, name)
            if value not in accepted:
                raise InputError(
                    f"{name} must be one of {', '.join(accepted)}. Received: {name}={value!r}."
                    f"{nearest(str(value), accepted)}"
                )

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Settings":
        """The settings in a `run.json`; InputError where one is unknown."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in record["settings"] if name not in known]
        if unknown:
            raise InputError(f"the run's settings must be among {', '.join(known)}. Received: {', '.join(unknown)}")
        return cls(**(_BEFORE_THERE_WAS_A_CHOICE | record["settings"]))


# What the settings of a run were whose record does not say.
_BEFORE_THERE_WAS_A_CHOICE = {"split": "shuffled", "encode": False}
BACKENDS = ("jax", "tensorflow", "torch")


@dataclass(frozen=True)
class Prepared:
    """Data and a compiled model, ready to train.

    Attributes:
        settings: What they were made from.
        train: The rows to train on.
        validation: The rows to validate on, or None.
        test: The rows to measure once at the end, or None.
        model: The compiled model.
        record: What `run.json` says of all this.
    """

    settings: Settings
    train: data_sets.Dataset
    validation: data_sets.Dataset | None
    test: data_sets.Dataset | None
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
    trust.note((settings.data, settings.model))
    _make_deterministic(settings)  # also for a function of the user's that draws random data
    loaded = data_sets.load_parts(
        settings.data,
        target=settings.target,
        validation=settings.validation_split,
        test=settings.test_split,
        split=settings.split,
        encode=settings.encode,
        seed=settings.seed,
    )
    train, validation, test = loaded.parts
    _make_deterministic(settings)
    model = models.build(settings.model, train)
    loss, metrics = models.objective(train, settings.loss, settings.metrics, model=model)
    own = {name: getattr(settings, name) for name in names(of="adam")}
    own["weight_decay"] = settings.weight_decay or None
    optimizer = Adam(
        learning_rate=_learning_rate(settings, len(train)),
        **own,
        epsilon_hat=settings.epsilon_hat,
        moment_dtype=settings.moment_dtype,
        on_nonfinite=settings.on_nonfinite,
    )
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    record = {
        "settings": asdict(replace(settings, data=_absolute(settings.data), model=_absolute(settings.model))),
        "data": {
            "fingerprint": loaded.fingerprint,
            "code": _fingerprint_of_code(settings.data),
            "rows": len(train),
            "validation_rows": len(validation) if validation else 0,
            "test_rows": len(test) if test else 0,
            "row_shape": list(train.row_shape),
            "target": train.target,
            "class_names": train.class_names and list(train.class_names),
            "feature_names": train.feature_names and list(train.feature_names),
            "columns": loaded.encoding and loaded.encoding.as_json(),
            "standardized": None
            if loaded.mean is None or loaded.scale is None
            else {"mean": loaded.mean.tolist(), "scale": loaded.scale.tolist()},
        },
        "model": {"parameters": model.count_params(), "fingerprint": _fingerprint_of_code(settings.model)},
        "loss": loss,
        "metrics": metrics,
        "versions": _versions(settings.backend),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return Prepared(settings, train, validation, test, model, record)


def again(folder: RunFolder, *, trust_code: bool = False, **changes: Any) -> Settings:
    """The settings of an earlier run, with `changes`, to train again.

    Raises:
        InputError: Its record is damaged or of a sweep, or names code that was not run here before as it is now, unless
            `trust_code` is set.
    """
    record = folder.read_record()
    for other in ("sweep", "comparison"):
        if other in record:
            raise InputError(f"{folder.path} must be the folder of a training run, and is that of a {other}")
    settings = Settings.of(record)
    if not trust_code:
        check_code(settings, folder, changes)
    return replace(settings, **changes)


def check_code(settings: Settings, folder: RunFolder, changes: Mapping[str, Any] | None = None) -> None:
    """InputError where the settings in a folder name code that was not run here before: see `adamkit.lab.trust`.

    Args:
        settings: From the folder's record.
        folder: Where that is.
        changes: Settings of the user's own, which count in their place.
    """
    named = {"data": settings.data, "model": settings.model}
    trust.check((name for part, name in named.items() if part not in (changes or {})), folder.path / RECORD)


def check_same_data(folder: RunFolder, record: dict[str, Any]) -> None:
    """InputError unless what was begun in `folder`, if anything, had the data of `record`, to the last bit."""
    if RECORD not in folder.files():
        return
    before, now = _part(folder.read_record(), "data").get("fingerprint"), record["data"]["fingerprint"]
    if before not in (None, now):
        raise InputError(
            f"the data {record['settings']['data']} must be those that {folder.path} was begun with, and have changed "
            f"since: their SHA-256 was {str(before)[:12]}… and is {now[:12]}…. Put them back, or begin anew with --out"
        )


def _learning_rate(settings: Settings, rows: int) -> Any:
    """The number, or the schedule that `adamkit.lab.training.population.scheduled` maps in a sweep."""
    if not settings.warmup_steps and settings.cosine_alpha == 1:
        return settings.learning_rate
    import keras

    # Where nothing falls, the length says nothing, and the run can go on beyond it.
    steps = settings.epochs * math.ceil(rows / settings.batch_size) if settings.cosine_alpha != 1 else 0
    return keras.optimizers.schedules.CosineDecay(
        0.0 if settings.warmup_steps else settings.learning_rate,
        decay_steps=max(steps - settings.warmup_steps, 1),
        alpha=settings.cosine_alpha,
        warmup_target=settings.learning_rate if settings.warmup_steps else None,
        warmup_steps=settings.warmup_steps,
    )


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Why a repeated run may not give the same bits, from the two runs' records: a line each."""
    status = earlier.get("status")
    unfinished = [] if status in DONE else [f"the earlier run has the status {status!r} and is not done"]
    return unfinished + changes(earlier, now)


def changes(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as it was when an earlier run was begun, from the two records: a line each."""
    lines = []
    for part, what in (("data", "the data differ"), ("model", "the model's file differs")):
        if _part(earlier, part).get("fingerprint") != now[part]["fingerprint"]:
            lines.append(f"{what} from the earlier run's")
    versions = _part(earlier, "versions")
    for name, release in now["versions"].items():
        if versions.get(name) != release:
            lines.append(f"{name} is {release} and was {versions.get(name)}")
    if earlier.get("machine") != now["machine"]:
        lines.append(f"the machine is {now['machine']} and was {earlier.get('machine')}")
    return lines


def first_difference(earlier: RunFolder, history: "pd.DataFrame") -> int | None:
    """The first epoch whose loss or metrics are not the earlier run's to the bit; None where all that both have are.

    Raises:
        InputError: The earlier run has no readable history.
    """
    before, now = (table.drop(columns="seconds", errors="ignore") for table in (earlier.read_history(), history))
    if list(before.columns) != list(now.columns):
        return 1
    epochs = min(len(before), len(now))
    a, b = before.to_numpy(np.float64)[:epochs], now.to_numpy(np.float64)[:epochs]
    same = ((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1)
    return None if same.all() else int(same.argmin()) + 1


def trained(
    prepared: Prepared,
    epochs: int,
    on_epoch: Callable[["Epoch"], None] | None = None,
    observer: "Observer | None" = None,
) -> "TrainResult":
    """Train as the settings say, for so many epochs; nothing is written but by an `observer`."""
    from adamkit.lab.training.trainer import train

    settings, validation = prepared.settings, prepared.validation
    return train(
        prepared.model,
        prepared.train.x,
        prepared.train.y,
        epochs=epochs,
        batch_size=settings.batch_size,
        validation_data=None if validation is None else (validation.x, validation.y),
        shuffle=settings.shuffle,
        seed=settings.seed,
        on_epoch=on_epoch,
        folder=observer,
    )


def execute(
    prepared: Prepared,
    folder: RunFolder,
    on_epoch: Callable[["Epoch"], None],
    *,
    checkpoint_every: int | None = None,
    warn: Callable[[str], None] = lambda line: None,
    watcher: "Watcher | None" = None,
) -> "TrainResult":
    """Train, and keep `folder` up to date; where it has checkpoints of this run, go on from the latest.

    `run.json` is there from the start, with status "running", then "done", "interrupted" or "failed" with the reason;
    the history is written as the run goes on, at most twice a second; checkpoints every `checkpoint_every` epochs, or
    as often as takes under 2 % of the time, and at the end; the model at the end, also after Ctrl-C. A write that fails
    on the way is tried again, so that a disk that is full for a while loses nothing. The test part is measured once,
    after the last epoch. `warn` is told of checkpoints that are damaged and passed over. `watcher` follows the history.

    Raises:
        InputError: The user's own model cannot be trained, or the folder has another run.
        MemoryError: It does not fit into memory.
        OSError: The folder could not be written, at the start or at the end. What could be is there.
        KeyboardInterrupt: Ctrl-C before the first epoch, or twice.
    """
    import pandas as pd
    import pyarrow.parquet  # noqa: F401  now, rather than within the second epoch

    from adamkit.lab.training.keeping import Keeper, unsaved
    from adamkit.lab.training.trainer import measure

    settings = prepared.settings
    keeper = Keeper(folder.path, checkpoint_every)
    before = keeper.latest()
    earlier = folder.read_record() if RECORD in folder.files() else None
    if before is not None and before.epoch > settings.epochs:
        raise InputError(f"epochs must be >= {before.epoch}, which are done. Received: epochs={settings.epochs}")
    for complaint in keeper.complaints:
        warn(f"a checkpoint was passed over: {complaint}")
    record = prepared.record | {"status": "running", "started": datetime.now(UTC).isoformat(timespec="seconds")}
    folder.write_record(record)
    rows: list[Epoch] = [] if before is None else before.rows()
    seconds_before = sum(row["seconds"] for row in rows)
    next_write = -math.inf

    def keep(row: "Epoch") -> None:
        nonlocal next_write
        rows.append(row)
        started = time.monotonic()
        if started >= next_write:
            with contextlib.suppress(OSError):  # tried again with a later row, and at the end
                folder.write_history(pd.DataFrame(rows))
            now = time.monotonic()
            next_write = now + max(_BETWEEN_WRITES, (now - started) / _SHARE_OF_WRITES)
        if watcher is not None:
            watcher.follow(rows)
        on_epoch(row)

    def ended(status: str, seconds: float, why: str | None = None) -> dict[str, Any]:
        state = {} if why is None else {"reason": why}
        return record | {
            "status": status,
            **state,
            "seconds": round(seconds_before + seconds, 3),
            "epochs_done": len(rows),
            "state": keeper.state,
        }

    started = time.monotonic()
    try:
        result = trained(prepared, settings.epochs, keep, keeper)
        if not rows:  # Ctrl-C before the first epoch
            raise KeyboardInterrupt
        if keeper.stop:
            raise FileNotFoundError(f"the run's folder {folder.path} is gone: nothing of the run could be saved")
        if (test := prepared.test) is not None:
            result.test = measure(result.model, test.x, test.y, batch_size=settings.batch_size)
            record["test"] = result.test
    except BaseException as error:
        if earlier is not None and len(rows) == (before.epoch if before else 0):  # nothing of the run has changed
            with contextlib.suppress(OSError):
                folder.write_record(earlier)
        elif rows:
            stopped = isinstance(error, KeyboardInterrupt)
            with contextlib.suppress(Exception):
                folder.write_history(pd.DataFrame(rows))
                why = _ON_REQUEST if stopped else reason(error)
                folder.write_record(ended("interrupted" if stopped else "failed", time.monotonic() - started, why))
        if (explained := _explained(error, settings)) is not None:
            raise explained from error
        raise

    def check_saved() -> None:
        if (failure := unsaved(keeper)) is not None:
            raise failure

    _write_all(
        folder,
        {
            "history.parquet": lambda: folder.write_history(result.history),
            "checkpoint": check_saved,
            "model.keras": lambda: folder.write_model(result.model),
            "run.json": lambda: folder.write_record(
                ended("interrupted", result.seconds, _ON_REQUEST)
                if result.interrupted
                else ended("done", result.seconds)
            ),
        },
    )
    return result


def extended(folder: RunFolder, epochs: int | None = None, *, trust_code: bool = False) -> Settings:
    """The settings of an earlier run to go on with, for so many epochs in all; None: as many as it was begun with.

    Raises:
        InputError: Its record is damaged or of a sweep, or more epochs would have been another run from the start,
            since its learning rate falls towards the last one; or it names code as in `again`.
    """
    settings = again(folder, trust_code=trust_code)
    if epochs not in (None, settings.epochs) and settings.cosine_alpha != 1:
        raise InputError(
            f"epochs must be {settings.epochs} for the run in {folder.path}, whose learning rate falls until then. "
            f"Received: epochs={epochs!r}"
        )
    return settings if epochs is None else replace(settings, epochs=epochs)


def _write_all(folder: RunFolder, writes: dict[str, Callable[[], None]]) -> None:
    """Write what can be written, and then say what could not: on a full disk the small files may still fit."""
    failures = {}
    for name, write in writes.items():
        try:
            write()
        except Exception as error:  # h5py and pyarrow have errors of their own for a full disk
            failures[name] = error
    if failures:
        causes = "; ".join(f"{name}: {reason(error)}" for name, error in failures.items())
        kept = ", ".join(name for name in folder.files() if name not in failures) or "nothing"
        raise OSError(f"could not save all of {folder.path}: {causes}. Kept: {kept}") from next(iter(failures.values()))


def _explained(error: BaseException, settings: Settings) -> Exception | None:
    """What to raise instead of an error in training; None for a bug of adamkit's, which needs its traceback."""
    from adamkit.lab import models

    text = str(error).lower()
    if "resource_exhausted" in text or "out of memory" in text or "not enough memory" in text:
        return MemoryError(reason(error))
    if isinstance(error, FloatingPointError):  # asked for, by on_nonfinite="raise"
        return InputError(f"{error}. A smaller learning rate may help, or --on-nonfinite skip")
    if not isinstance(error, Exception) or isinstance(error, (OSError, MemoryError, InputError)):
        return None
    if settings.model in models.NAMES:
        return None
    return InputError(f"the model {settings.model} could not be trained: {reason(error)}")


def _make_deterministic(settings: Settings) -> None:
    import keras

    from adamkit.keras.internals import without_tensorflow

    with without_tensorflow():
        keras.utils.set_random_seed(settings.seed)
    if settings.backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _is_name(text: str) -> bool:
    """Whether a file can have that name."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _absolute(name: str) -> str:
    """`name` with an absolute path, where it is that of a file or of a function in one."""
    file, colon, function = (name, "", "") if Path(name).is_file() else name.rpartition(":")
    return f"{Path(file).resolve()}{colon}{function}" if Path(file).is_file() else name


def _fingerprint_of_code(name: str) -> str | None:
    """SHA-256 of the file that a model is from; None for a built-in model."""
    source = name.rpartition(":")[0] if references.is_reference(name) else name
    file = source if Path(source).is_file() else getattr(sys.modules.get(source), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else None


def _part(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a record that somebody may have edited."""
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def _versions(backend: str) -> dict[str, str]:
    packages = {name: importlib.import_module(name).__version__ for name in ("adamkit", "keras", "numpy", backend)}
    return {"python": platform.python_version()} | packages
