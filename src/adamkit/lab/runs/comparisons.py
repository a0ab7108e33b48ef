"""A comparison of optimizers from names and numbers alone, so that it can be written down and taken up again."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adamkit.lab import data as data_sets
from adamkit.lab import runs
from adamkit.lab.comparing.audit import audit
from adamkit.lab.comparing.compare import DEFAULT, compare
from adamkit.lab.comparing.optimizers import checked
from adamkit.lab.data.noise import some_rows, with_label_noise
from adamkit.lab.errors import InputError, shown
from adamkit.lab.hyperparameters import BELOW
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping.spaces import check_seeds

if TYPE_CHECKING:
    from adamkit.lab.comparing.audited import Audit
    from adamkit.lab.comparing.result import Comparison
    from adamkit.lab.comparing.tuning import Progress
    from adamkit.lab.data import Dataset
    from adamkit.lab.sweeping.executors import Executor

EPOCHS, SPLIT = 10, 0.2  # where none are given


@dataclass(frozen=True)
class Plan:
    """What a comparison does.

    Attributes:
        settings: Data, model and training; its hyperparameters of Adam are not used. Settings are chosen on
            `validation_split` of the rows, results reported on `test_split`.
        optimizers: Names, as in `adamkit.lab.compare`; so are the next five.
        budget: …
        seeds: …
        objective: …
        goal: …
        check: …
        train_size: Train on so many rows only; None: on all that the two parts leave.
        label_noise: The share of the rows to train on that get a wrong label.
        audit: Whether untuned optimizers are audited, as by `adamkit.lab.audit`, rather than tuned and compared.
    """

    settings: runs.Settings
    optimizers: Sequence[str] = field(default_factory=lambda: DEFAULT.split(","))
    budget: int = 32
    seeds: int = 5
    objective: str | None = None
    goal: float | None = None
    check: bool = False
    train_size: int | None = None
    label_noise: float = 0.0
    audit: bool = False

    def __post_init__(self):
        for name, value in (("budget", self.budget), ("seeds", self.seeds), ("train_size", self.train_size)):
            if value is None and name == "train_size":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < BELOW:
                raise InputError(f"{name} must be a whole number >= 1 and < 2³¹. Received: {name}={shown(value)}")
        check_seeds(self.settings.seed, self.seeds)
        if not isinstance(self.objective, (str, type(None))):
            raise InputError(f"objective must be a name. Received: objective={shown(self.objective)}")
        for name, value in (("check", self.check), ("audit", self.audit)):
            if not isinstance(value, bool):
                raise InputError(f"{name} must be true or false. Received: {name}={shown(value)}")
        if self.audit and (self.check or self.goal is not None):
            name = "check" if self.check else "goal"
            raise InputError(f"{name} must be left out of an audit: it is of optimizers that are tuned and compared")
        for name, value in (("goal", self.goal), ("label_noise", self.label_noise)):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**1000
            if not is_number and not (name == "goal" and value is None):
                raise InputError(f"{name} must be a finite number. Received: {name}={shown(value)}")
        for name in ("validation_split", "test_split"):
            value = getattr(self.settings, name)
            if not 0 < value < 1:
                raise InputError(f"{name} must be > 0 and < 1. Received: {name}={value!r}")
        if self.settings.backend != "jax":
            raise InputError(f"a comparison runs on the backend jax. Received: backend={self.settings.backend!r}")


def again(folder: RunFolder, *, trust_code: bool = False) -> Plan:
    """The plan of an earlier comparison, to go on with.

    Raises:
        InputError: The folder has none or a damaged one, or it names code that was not run here before as it is now,
            unless `trust_code` is set.
    """
    record = folder.read_record()
    plan = record.get("comparison")
    known = {field.name for field in dataclasses.fields(Plan)} - {"settings"}
    if not isinstance(plan, dict) or not {"optimizers"} <= plan.keys() <= known:
        raise InputError(f"{folder.path} must be the folder of a comparison, and its run.json has none")
    settings = runs.Settings.of(record)
    if not trust_code:
        runs.check_code(settings, folder)
    return Plan(settings, **plan)


def execute(
    plan: Plan,
    folder: RunFolder,
    on_progress: Callable[["Progress"], None] | None = None,
    on_start: Callable[[dict[str, Any]], None] | None = None,
    *,
    command: str | None = None,
    executor: "Executor | None" = None,
) -> "Comparison | Audit":
    """Compare or audit, and keep `folder` up to date: what is finished in it is not run again.

    `run.json` is there from the start, with status "running", then "done", "interrupted" (Ctrl-C) or "failed".

    Args:
        plan: What to do.
        folder: Where to keep it.
        on_progress: As in `adamkit.lab.compare`.
        on_start: Called with what `run.json` says, once the data are there.
        command: What repeats it, for `run.json`.
        executor: As in `adamkit.lab.compare`.

    Raises:
        InputError: The data, the model or an optimizer is wrong, or the folder holds another comparison.
        MemoryError: It does not fit into memory.
        OSError: The folder could not be written, or a download failed.
        KeyboardInterrupt: Ctrl-C, twice.
    """
    settings = plan.settings
    optimizers = checked(plan.optimizers)  # before any data are loaded
    prepared = runs.prepare(settings)
    runs.check_same_data(folder, prepared.record)
    train, validation, test = _parts(plan, prepared)
    record = prepared.record | {
        "data": prepared.record["data"] | {"rows": len(train)},
        "comparison": {name: value for name, value in asdict(plan).items() if name != "settings"},
        **({} if command is None else {"command": command}),
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder.write_record(record)
    if on_start is not None:
        on_start(record)
    own = {} if plan.audit else {"goal": plan.goal, "check": plan.check}
    with folder.recording_failure(record):
        result = (audit if plan.audit else compare)(
            prepared.model,
            train.x,
            train.y,
            optimizers=optimizers,
            budget=plan.budget,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation_data=(validation.x, validation.y),
            test_data=(test.x, test.y),
            seeds=plan.seeds,
            objective=plan.objective,
            shuffle=settings.shuffle,
            seed=settings.seed,
            folder=folder.path,
            executor=executor,
            on_progress=on_progress,
            **own,
        )
    status = "interrupted" if result.described["interrupted"] else "done"
    folder.write_record(record | {"status": status, "seconds": round(result.described["seconds"], 3)})
    return result


def _parts(plan: Plan, prepared: runs.Prepared) -> "tuple[Dataset, Dataset, Dataset]":
    """The rows to train on, to choose on and to report on."""
    train, validation, test = prepared.train, prepared.validation, prepared.test
    assert validation is not None  # its share is > 0
    assert test is not None
    if plan.train_size is not None:
        train = some_rows(train, plan.train_size, plan.settings.seed)
        if prepared.record["data"]["standardized"]:  # by the rows that are trained on alone
            train, validation, mean, scale = data_sets.standardize(train, validation)
            test = replace(test, x=data_sets.apply(test.x, mean, scale))
            assert validation is not None
    if plan.label_noise:
        train = with_label_noise(train, plan.label_noise, plan.settings.seed)
    return train, validation, test
