"""One weight of a recorded run: what each step of Adam did to it, found by training the run again."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adamkit import functional, moments
from adamkit.keras.internals import names_from_the_start, without_scaler
from adamkit.lab import runs
from adamkit.lab.errors import InputError, listed, nearest
from adamkit.lab.hyperparameters import names
from adamkit.lab.insight.trace import MOST_STEPS, Step, Trace, step_taken
from adamkit.lab.training.recording import Recording, Row

if TYPE_CHECKING:
    import pandas as pd

STEPS = 50  # where nobody says how many


@dataclass(frozen=True)
class Recorded:
    """What one weight of a run saw.

    Attributes:
        trace: Its steps. g, m, v, η and θ are the run's own numbers; m̂, v̂ and the step follow from them, by
            `adamkit.step` in float64.
        weight: Its name and index: `sequential/dense/kernel[3,1]`.
        total: The steps of the whole run.
        history: What the epochs showed that were trained again, as in `adamkit.lab.TrainResult`.
        record: What `run.json` would say of the run now: see `adamkit.lab.runs.differences`.
    """

    trace: Trace
    weight: str
    total: int
    history: "pd.DataFrame"
    record: dict[str, Any]


def weight_of_run(settings: runs.Settings, weight: str, *, steps: int | None = None) -> Recorded:
    """Train a run again, as far as its first steps go, and keep what they did to one weight.

    Keras must run on `settings.backend`. Whole epochs are trained, so that what they show can be held against the run's
    own history.

    Args:
        settings: The run's: see `adamkit.lab.runs.again`.
        weight: A variable by its Keras path, or its last parts where no other ends so, and an index into it:
            `dense/kernel[3,1]`. A variable of one number needs no index.
        steps: How many to keep, from the first. Defaults to 50, or all where there are fewer.

    Raises:
        InputError: There is no such weight, or there are fewer steps.

    Example:
        >>> settings = runs.Settings(epochs=1)
        >>> recorded = weight_of_run(settings, "dense/kernel[3,1]", steps=2)
        >>> recorded.weight, recorded.total, len(recorded.trace.steps)
        ('sequential/dense/kernel[3,1]', 32, 2)
    """
    name, index = _parsed(weight)
    with names_from_the_start():
        prepared = runs.prepare(settings)
    a_epoch = math.ceil(len(prepared.train) / settings.batch_size)
    total = settings.epochs * a_epoch
    most = min(total, MOST_STEPS)
    kept = min(STEPS, most) if steps is None else steps
    if isinstance(kept, bool) or not isinstance(kept, int) or not 1 <= kept <= most:
        raise InputError(f"steps must be a whole number >= 1 and <= {most}. Received: steps={kept!r}")
    model: Any = prepared.model
    which, flat, called = _found(model.trainable_variables, name, index, weight)
    config = without_scaler(model.optimizer).get_config()
    optimizer = Recording.from_config(config | {"place": (which, flat), "steps": kept})
    model.compile(optimizer=optimizer, loss=prepared.record["loss"], metrics=prepared.record["metrics"])
    result = runs.trained(prepared, math.ceil(kept / a_epoch))
    known: dict[str, Any] = {name: getattr(settings, name) for name in ("learning_rate", *names(of="adam"))}
    stored = moments.format_of(math.prod(model.trainable_variables[which].shape), settings.moment_dtype)
    steps_of = _steps(optimizer.rows, known, epsilon_hat=settings.epsilon_hat, as_kept=stored == "float32")
    traced = Trace(steps_of, known, (called,), settings.epsilon_hat, None if stored == "float32" else stored)
    return Recorded(traced, called, total, result.history, prepared.record)


def _steps(rows: Row, known: dict[str, Any], *, epsilon_hat: bool, as_kept: bool) -> list[Step]:
    """Each step from the state before it; m̂ and v̂ are of what it computed, which its m and v may be rounded from."""
    options = {name: value for name, value in known.items() if name not in ("amsgrad", "learning_rate")}
    zero = np.zeros(1)
    state = functional.AdamState(0, zero, zero, zero if known["amsgrad"] else None)
    steps = []
    for values in zip(*rows, strict=True):
        row = Row(*(np.array([value]) for value in values))
        eta = float(row.learning_rate[0])
        after, new = functional.step(
            row.before, row.gradient, state, learning_rate=eta, epsilon_hat=epsilon_hat, **options
        )
        state = functional.AdamState(
            new.step, row.first_moment, row.second_moment, row.largest if known["amsgrad"] else None
        )
        computed = step_taken(
            row.before, row.gradient, state if as_kept else new, after, known | {"learning_rate": eta}
        )
        steps.append(
            computed._replace(
                first_moment=row.first_moment,
                second_moment=row.second_moment,
                after=row.after,
                largest=state.max_second_moment,
            )
        )
    return steps


def _parsed(weight: str) -> tuple[str, tuple[int, ...] | None]:
    """`kernel[3,1]` as its name and index; None where there is none."""
    match = re.fullmatch(r"\s*([^\[\]]*?)\s*(?:\[([\d\s,]*)\])?\s*", weight)
    if match is None:
        raise InputError(f"weight must be a name and an index: dense/kernel[3,1]. Received: weight={weight!r}")
    name, index = match.groups()
    if index is None:
        return name, None
    words = [word.strip() for word in index.split(",")]
    if not all(word.isdigit() for word in words):
        raise InputError(f"weight must have whole numbers in its brackets: [3,1]. Received: weight={weight!r}")
    return name, tuple(map(int, words))


def _found(variables: Sequence[Any], name: str, index: tuple[int, ...] | None, given: str) -> tuple[int, int, str]:
    """Which variable that is, where in it, and the weight's whole name."""
    paths = [variable.path for variable in variables]
    places = [i for i, path in enumerate(paths) if path == name]
    places = places or [i for i, path in enumerate(paths) if path.endswith(f"/{name}")]
    if len(places) != 1:
        known = listed(f"{v.path} {list(v.shape)}" for v in variables)
        ends = ["/".join(path.split("/")[-n:]) for path in paths for n in range(1, path.count("/") + 2)]
        hint = nearest(name, ends) if not places else ""
        raise InputError(
            f"weight must be one of {known}, or the last parts of one alone. Received: weight={given!r}.{hint}"
        )
    path, shape = paths[places[0]], tuple(variables[places[0]].shape)
    if index is None and math.prod(shape) == 1:
        index = (0,) * len(shape)
    if index is None or len(index) != len(shape) or any(i >= n for i, n in zip(index, shape, strict=True)):
        accepted = ",".join(f"0…{n - 1}" for n in shape)
        raise InputError(f"weight must be {path}[{accepted}]. Received: weight={given!r}")
    flat = int(np.ravel_multi_index(index, shape)) if shape else 0
    return places[0], flat, f"{path}[{','.join(map(str, index))}]" if shape else path
