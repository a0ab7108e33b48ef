"""What happens inside of a run with Adam: of each variable after each epoch, and of one weight at each step."""

import math
from typing import Any

import jax
import numpy as np

from adamkit import functional, rule
from adamkit.keras.internals import moments_of
from adamkit.lab.errors import InputError, listed
from adamkit.lab.hyperparameters import names
from adamkit.lab.training.population import scheduled
from adamkit.lab.training.recording import Row
from adamkit.play.choices import ADAM, Choice
from adamkit.play.training import Bench
from adamkit.variants import SWITCHES

MOST_STEPS = 200


def variables(bench: Bench, choice: Choice) -> dict[str, Any]:
    """Train a choice, and look at each variable at the last step of each epoch.

    Returns:
        `names`, `shapes`, and for each epoch and variable: `update` (root mean square of the step over that of the
        weights), `signal` (mean of |m̂|/√v̂), `root` (median of √v̂), `epsilon` (the ε beside it), and `lost` (the share
        of weights that the step leaves as they are, since float32 rounds it away).

    Raises:
        InputError: The choice is not of Adam, or its moments are kept in int8.
    """
    _check(bench, choice)
    if choice.moment_dtype == "int8":
        raise InputError("what is inside can be shown of moments in float32 or bfloat16. Received: moment_dtype='int8'")
    model = bench.model_of(choice)
    steps = math.ceil(choice.rows / choice.batch_size)
    places = {id(variable): i for i, variable in enumerate(model.optimizer.variables)}
    kept = [[places[id(variable)] for variable in group] for group in moments_of(model.optimizer)]
    epochs = []
    for epoch, (members, _) in enumerate(bench.states(choice), 1):
        k = _coefficients(choice, epoch * steps, choice.epochs * steps)
        rows = []
        for i, theta in enumerate(members.trainable):
            theta = np.asarray(theta[0], np.float32)
            m, v, *most = (
                np.asarray(members.optimizer[group[i]][0], np.float32).reshape(theta.shape) for group in kept
            )
            rows.append(_look(theta, m, most[0] if most else v, k, epoch * steps, choice))
        epochs.append(rows)
    return {
        "names": [variable.path for variable in model.trainable_variables],
        "shapes": [list(variable.shape) for variable in model.trainable_variables],
        "epochs": epochs,
    }


def weight(bench: Bench, choice: Choice, variable: Any, flat: Any, steps: Any) -> dict[str, Any]:
    """Train a choice as far as its first steps, and keep what they did to one weight.

    Args:
        bench: What trains.
        choice: With Adam.
        variable: Which of the trainable variables.
        flat: Which of its weights, in the order of memory.
        steps: How many, at most 200.

    Returns:
        `steps`: for each step θ before it, g, m and v before and after, η, and what `adamkit.step` makes of these in
        float32: `python`, in hexadecimal.

    Raises:
        InputError: The choice is not of Adam in float32, or there is no such weight.
    """
    _check(bench, choice)
    if choice.moment_dtype != "float32":
        raise InputError(f"a weight can be followed with moments in float32. Received: {choice.moment_dtype}")
    shapes = [tuple(one.shape) for one in bench.subject.model.trainable_variables]
    if not (isinstance(variable, int) and 0 <= variable < len(shapes)):
        raise InputError(f"variable must be one of 0 to {len(shapes) - 1}. Received: variable={variable!r}")
    size = math.prod(shapes[variable])
    if not (isinstance(flat, int) and 0 <= flat < size):
        raise InputError(f"weight must be a whole number from 0 to {size - 1}. Received: weight={flat!r}")
    a_epoch = math.ceil(choice.rows / choice.batch_size)
    most = min(MOST_STEPS, a_epoch * choice.epochs)
    if not (isinstance(steps, int) and steps >= 1):
        raise InputError(f"steps must be a whole number from 1 to {most}. Received: steps={steps!r}")
    rows = bench.recorded(choice, (variable, flat), min(steps, most))
    return {"steps": _steps(rows, choice)}


def _check(bench: Bench, choice: Choice) -> None:
    if choice.optimizer != ADAM:
        raise InputError(f"what is inside can be shown of {listed([ADAM])}. Received: {choice.optimizer}")
    others = [name for name in ("epsilon_hat", "groups", *SWITCHES) if name in bench.subject.arguments]
    if others:
        raise InputError(f"what is inside can be shown of Adam alone. Received: Adam with {listed(others)}")


def _coefficients(choice: Choice, step: int, total: int) -> rule.Coefficients:
    own = choice.setting
    numbers = {name: float(own[name]) for name in names(of="schedule")} | {"total_steps": float(total)}
    rate = float(jax.device_get(scheduled(float(step - 1), numbers)))
    return rule.coefficients(
        step, rate, rule.Decay.of(float(own["beta_1"])), rule.Decay.of(float(own["beta_2"])), float(own["epsilon"]),
        float(own["weight_decay"]), bias_correction=bool(own["bias_correction"]), adaptivity=bool(own["adaptivity"]),
    )  # fmt: skip


def _look(theta: np.ndarray, m: np.ndarray, v: np.ndarray, k: rule.Coefficients, step: int, choice: Choice) -> dict:
    with np.errstate(all="ignore"):
        change = k.step_size * m / (rule.divisor(v, k, np) if k.adaptive else 1.0)
        change = (change + k.shrinkage * theta).astype(np.float32)
        corrected = bool(choice.setting["bias_correction"])
        first, second = (
            rule.bias_correction(step, decay) if corrected else 1.0 for decay in (k.first_decay, k.second_decay)
        )
        m_hat, root_hat = np.abs(m) / first, np.sqrt(v) / math.sqrt(second)
        found = {
            "update": np.sqrt(np.mean(np.square(change, dtype=np.float64)))
            / np.sqrt(np.mean(np.square(theta, dtype=np.float64))),
            "signal": np.mean(m_hat[root_hat > 0] / root_hat[root_hat > 0]) if (root_hat > 0).any() else 0.0,
            "root": np.median(root_hat),
            "epsilon": float(choice.setting["epsilon"]),
            "lost": np.mean((theta - change == theta) & (change != 0)),
        }
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def _steps(rows: Row, choice: Choice) -> list[dict[str, Any]]:
    own = choice.setting
    options: dict[str, Any] = {name: own[name] for name in names(of="adam") if name != "amsgrad"}
    zero = np.zeros((), np.float32)
    state = functional.AdamState(0, zero, zero, zero if own["amsgrad"] else None)
    found = []
    for values in zip(*rows, strict=True):
        row = Row(*(np.float32(value) for value in values))
        before = {"theta": row.before, "g": row.gradient, "m": state.first_moment, "v": state.second_moment}
        rate = float(row.learning_rate)
        theta, new = functional.step(
            np.asarray(row.before), np.asarray(row.gradient), state, learning_rate=rate, **options
        )
        computed = {"theta": theta, "m": new.first_moment, "v": new.second_moment}
        found.append(
            {
                **{name: float(value) for name, value in before.items()},
                "largest": None if state.max_second_moment is None else float(state.max_second_moment),
                "learning_rate": rate, "after": float(row.after),
                "python": {name: f"{np.float32(value).view(np.uint32):08x}" for name, value in computed.items()},
            }
        )  # fmt: skip
        largest = np.asarray(row.largest) if own["amsgrad"] else None
        state = functional.AdamState(new.step, np.asarray(row.first_moment), np.asarray(row.second_moment), largest)
    return found
