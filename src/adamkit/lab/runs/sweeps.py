"""A sweep from names and numbers alone, so that it can be written down, taken up again and its best setting trained."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adamkit.lab import runs
from adamkit.lab.errors import InputError, shown
from adamkit.lab.hyperparameters import BELOW, HYPERPARAMETERS, names
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping import spaces
from adamkit.lab.sweeping.spaces import check_seeds

if TYPE_CHECKING:
    from adamkit.lab.sweeping.executors import Executor
    from adamkit.lab.sweeping.sweeper import Progress, SweepResult

# What leaves the learning rate as it is: each one's default.
_SCHEDULE = {name: HYPERPARAMETERS[name].default for name in names(of="schedule") if name != "learning_rate"}


@dataclass(frozen=True)
class Plan:
    """What a sweep does.

    Attributes:
        settings: Data, model and training, and the hyperparameters that are not swept.
        space: All settings of the others.
        seeds: As in `adamkit.lab.sweep`; so are the next five.
        objective: …
        halving: …
        patience: …
        same_start: …
        same_order: …
    """

    settings: runs.Settings
    space: list[spaces.Setting]
    seeds: int = 1
    objective: str | None = None
    halving: int | None = None
    patience: int | None = None
    same_start: bool = True
    same_order: bool = True

    def __post_init__(self):
        object.__setattr__(self, "space", spaces.settings_of(self.space))
        for name, least in (("seeds", 1), ("halving", 2), ("patience", 1)):
            value = getattr(self, name)
            if value is None and name != "seeds":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < BELOW:
                raise InputError(f"{name} must be a whole number >= {least} and < 2³¹. Received: {name}={shown(value)}")
        spaces.check_runs(len(self.space), self.seeds)
        check_seeds(self.settings.seed, self.seeds)
        if not isinstance(self.objective, (str, type(None))):
            raise InputError(f"objective must be a name. Received: objective={shown(self.objective)}")
        for name in ("same_start", "same_order"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false. Received: {name}={shown(getattr(self, name))}")
        if self.settings.backend != "jax":
            raise InputError(f"a sweep runs on the backend jax. Received: backend={self.settings.backend!r}")


def again(folder: RunFolder, *, trust_code: bool = False) -> Plan:
    """The plan of an earlier sweep, to go on with.

    Raises:
        InputError: The folder has none or a damaged one, or it names code that was not run here before as it is now,
            unless `trust_code` is set.
    """
    plan = plan_of(folder)
    if not trust_code:
        runs.check_code(plan.settings, folder)
    return plan


def plan_of(folder: RunFolder) -> Plan:
    """The plan of an earlier sweep, to read; InputError where the folder has none, or a damaged one."""
    record = folder.read_record()
    sweep = record.get("sweep")
    known = {field.name for field in dataclasses.fields(Plan)} - {"settings"}
    if not isinstance(sweep, dict) or not {"space"} <= sweep.keys() <= known:
        raise InputError(f"{folder.path} must be the folder of a sweep, and its run.json has none")
    return Plan(runs.Settings.of(record), **sweep)


def best_settings(folder: RunFolder, *, trust_code: bool = False, **changes: Any) -> runs.Settings:
    """The settings of a run with the best of an earlier sweep, and `changes`.

    Raises:
        InputError: The folder is not of a sweep, nothing of it is finished, all of it diverges, or it names code as in
            `again`.
    """
    plan = plan_of(folder)
    if not trust_code:
        runs.check_code(plan.settings, folder, changes)
    record = folder.read_record()
    best = record.get("best")
    setting = best.get("setting") if isinstance(best, dict) else None
    if "best" in record and (best is None or (setting in plan.space and not _is_finite(best.get("objective")))):
        raise InputError(f"{folder.path} has no best setting: every one diverges. Smaller learning rates may help")
    if setting not in plan.space:
        raise InputError(f"{folder.path} must be a sweep with a finished setting, and has none")
    return replace(plan.settings, **setting, **changes)


def execute(
    plan: Plan,
    folder: RunFolder,
    on_progress: Callable[["Progress"], None] | None = None,
    *,
    command: str | None = None,
    executor: "Executor | None" = None,
) -> "SweepResult":
    """Sweep, and keep `folder` up to date: what is finished in it is not run again, whichever executor it is from.

    `run.json` is there from the start, with status "running", then "done", "interrupted" (Ctrl-C) or "failed", and
    with `command`, the command line that asked for this, if there is one. The report is the caller's to write. At the
    end it also has `processors`, what the runs were trained on, `as_on_one_machine`, whether the table has the bits
    that one machine with that processor gives or those but for rounding, and `failed`, the runs that `executor` could
    not train, if there are any.

    Raises:
        InputError: The data, the model or the space is wrong, or the folder holds another sweep.
        MemoryError: It does not fit into memory.
        OSError: The folder could not be written, or a download failed.
        KeyboardInterrupt: Ctrl-C, twice.
    """
    settings, space = plan.settings, plan.space
    schedule = {name: getattr(settings, name) for name in _SCHEDULE if name not in space[0]}
    if any(schedule[name] != _SCHEDULE[name] for name in schedule) or set(_SCHEDULE) & space[0].keys():
        # The model gets a plain learning rate, and each setting the whole schedule.
        space = [setting | schedule for setting in space]
        settings = replace(settings, **_SCHEDULE)
    prepared = runs.prepare(settings)
    runs.check_same_data(folder, prepared.record)
    sweep_record = asdict(plan)
    del sweep_record["settings"]
    record = prepared.record | {
        "settings": prepared.record["settings"] | {name: getattr(plan.settings, name) for name in _SCHEDULE},
        "sweep": sweep_record,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if command is not None:
        record["command"] = command
    folder.write_record(record)

    from adamkit.lab.sweeping.sweeper import sweep

    validation = prepared.validation
    with folder.recording_failure(record):
        result = sweep(
            prepared.model,
            prepared.train.x,
            prepared.train.y,
            space=space,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation_data=None if validation is None else (validation.x, validation.y),
            seeds=plan.seeds,
            objective=plan.objective,
            shuffle=settings.shuffle,
            seed=settings.seed,
            same_start=plan.same_start,
            same_order=plan.same_order,
            halving=plan.halving,
            patience=plan.patience,
            folder=folder.path,
            executor=executor,
            on_progress=on_progress,
            report=False,
        )
    ended: dict[str, Any] = {
        "status": "interrupted" if result.interrupted else "done",
        "processors": result.processors,
        "as_on_one_machine": "bit for bit" if len(result.processors) == 1 else "to float32 rounding",
    }
    if len(result.failed):
        ended["failed"] = result.failed.to_dict(orient="records")
    if len(result.history):
        best = result.best().iloc[0]
        found = {"setting": plan.space[int(best.setting)], "objective": float(best["mean"])}
        ended["best"] = found if _is_finite(best["mean"]) else None  # where all diverge
    folder.write_record(record | ended | {"seconds": round(result.seconds, 3)})
    return result


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
