"""What commonly goes wrong with Adam, read off its state around one step, and off the losses of a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 0.5  # of a tensor: more than that is most of it
UNDERFLOWN = 0.1  # of the weights that have a gradient
SMALL, LARGE = 1e-5, 1e-1  # of the weights' norm, that of a step
_PLATEAU = 0.01  # of the first loss, by which losses differ on one
_RISE = 0.1  # of the first loss, by which it ends above its lowest value
_FALLING = 0.2  # of the whole fall, in the last quarter; a straight line has 0.25
_EPOCHS = 4  # fewer say nothing of a tendency
_TINY = 1e-5  # of a mean of gradients: what is left of one that was 0, by rounding


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, with its figure and what to do.

    Attributes:
        kind: Which of the known faults, in one word.
        where: The parameter, or "the run".
        figure: The number that gave it away.
        says: It in words.
        remedy: What to do.
    """

    kind: str
    where: str
    figure: float
    says: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says}. {self.remedy}"


@dataclass(frozen=True)
class Look:
    """One parameter around one step: arrays of its shape in float64.

    Attributes:
        name: Its path.
        before: θ before the step.
        after: θ after it.
        first_before: m before it.
        first: m after it.
        second: v after it.
        step: t, the number of the step, >= 1.
        beta_1: β₁.
        beta_2: β₂.
        epsilon: ε.
        epsilon_hat: Whether ε is added before bias correction.
        loses: Whether the parameter is narrow and rounded to the nearest, with nothing kept beside it.
        units: Which axis is that of units behind a ReLU, if one is.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    first_before: np.ndarray
    first: np.ndarray
    second: np.ndarray
    step: int
    beta_1: float
    beta_2: float
    epsilon: float
    epsilon_hat: bool = False
    loses: bool = False
    units: int | None = None


def of_parameter(look: Look) -> list[Finding]:
    """What one step shows of one parameter."""
    has_gradient = look.first != 0
    if not has_gradient.any() and not look.second.any():
        return [
            Finding("no-gradient", look.name, 0.0, "it has never had a gradient, and moments all the same",
                    "Freeze it (trainable = False, requires_grad_(False)), or see why the loss does not depend on it")
        ]  # fmt: skip
    return [*_second_moment(look, has_gradient), *_weights(look, has_gradient), *_units(look)]


def of_run(losses: Sequence[float], steps: int, beta_2: float) -> list[Finding]:
    """What the losses of a run show, one an epoch, and its number of steps so far or in all."""
    found = []
    horizon = 1 / (1 - beta_2)
    if horizon > 2 * steps:
        found.append(Finding(
            "long-memory", "the run", horizon,
            f"β₂ = {beta_2:g} is a mean over {horizon:.0f} steps, and the run has {steps}",
            f"Try beta_2 = {max(1 - 4 / max(steps, 8), 0.5):.3g}",
        ))  # fmt: skip
    values = np.asarray(losses, np.float64)
    if not np.isfinite(values).all():
        first = int(np.argmax(~np.isfinite(values))) + 1
        found.append(Finding("not-finite", "the run", first, f"the loss is not finite from epoch {first} on",
                             "Try a learning rate of a tenth; on_nonfinite='raise' names the parameter"))  # fmt: skip
        return found
    if len(values) < _EPOCHS:
        return found
    quarter = max(len(values) // 4, 1)
    lowest, end = values.min(), values[-quarter:].mean()
    spread = (values.max() - lowest) / max(abs(values[0]), 1e-12)
    fall = values[0] - values[-1]
    late = values[-quarter - 1] - values[-1]
    if spread < _PLATEAU:
        found.append(Finding("plateau", "the run", spread, f"losses of {len(values)} epochs differ by {spread:.1%}",
                             "Look at the data and the loss first; `adamkit range` finds a learning rate"))  # fmt: skip
    elif end - lowest > _RISE * abs(values[0]):
        ratio = end / max(lowest, 1e-12)
        found.append(Finding("rising", "the run", ratio, f"the loss ends at {ratio:.3g} times its lowest value",
                             "Try a smaller learning rate, or one that decays (--cosine-alpha 0)"))  # fmt: skip
    elif fall > 0 and late / fall > _FALLING * quarter / (len(values) / 4):
        share = late / fall
        found.append(Finding("unfinished", "the run", share,
                             f"{share:.0%} of the loss's fall is in the last {quarter} of {len(values)} epochs",
                             "Train longer, or try a larger learning rate"))  # fmt: skip
    return found


def _second_moment(look: Look, has_gradient: np.ndarray) -> list[Finding]:
    lost = _share(look.second == 0, has_gradient)
    if lost > UNDERFLOWN:
        return [Finding("underflow", look.name, lost, f"v is 0 for {lost:.0%} of the weights that have a gradient",
                        "Scale the loss up, or keep moments in float32")]  # fmt: skip
    correction = 1.0 if look.epsilon_hat else -math.expm1(look.step * math.log(look.beta_2)) if look.beta_2 else 1.0
    small = _share(np.sqrt(look.second / correction) < look.epsilon, has_gradient)
    if small > MOST:
        typical = float(np.median(np.sqrt(look.second / correction)[has_gradient]))
        return [Finding("epsilon", look.name, small, f"ε = {look.epsilon:g} exceeds √v̂ for {small:.0%} of the weights",
                        f"Try epsilon = {typical / 100:.0e}, or scale the loss up")]  # fmt: skip
    return []


def _weights(look: Look, has_gradient: np.ndarray) -> list[Finding]:
    same = _share(look.before == look.after, has_gradient)
    if look.loses and same > MOST:
        return [Finding("rounding", look.name, same, f"the step rounds away for {same:.0%} of the weights",
                        "Use parameter_rounding='compensated', or float32 weights")]  # fmt: skip
    size = float(np.linalg.norm(look.before))
    if look.before.ndim < 2 or size == 0:  # biases begin at 0
        return []
    ratio = float(np.linalg.norm(look.after - look.before)) / size
    if ratio > LARGE:
        return [Finding("large-steps", look.name, ratio, f"a step is {ratio:.2g} of the weights, more than {LARGE:g}",
                        "Try a learning rate of a tenth, or a warm-up")]  # fmt: skip
    if 0 < ratio < SMALL:
        return [Finding("small-steps", look.name, ratio, f"a step is {ratio:.1e} of the weights, less than {SMALL:g}",
                        "Try ten times the learning rate")]  # fmt: skip
    return []


def _units(look: Look) -> list[Finding]:
    """Units whose weights have all had a gradient of 0, which is what ReLU gives where its input is negative."""
    if look.units is None or look.before.ndim < 2:
        return []
    rest = look.first - look.beta_1 * look.first_before  # (1 − β₁)·g, up to rounding
    silent = np.abs(rest) <= _TINY * np.maximum(np.abs(look.first_before), np.abs(look.first))
    units = np.moveaxis(silent, look.units, 0)
    dead = units.reshape(len(units), -1).all(axis=1)
    share = float(dead.mean())
    if share <= MOST / 2:
        return []
    count = f"{int(dead.sum())} of {dead.size} units"
    return [Finding("dead-units", look.name, share, f"{count} before a ReLU have no gradient",
                    "Try a smaller learning rate, He initialization, or leaky ReLU")]  # fmt: skip


def _share(which: np.ndarray, of: np.ndarray) -> float:
    return float(np.count_nonzero(which & of) / max(np.count_nonzero(of), 1))


class Collected:
    """The findings of several looks: each kind once for each parameter, where a quarter of them have it.

    Attributes:
        looks: How many there were.
    """

    def __init__(self) -> None:
        self.looks = 0
        self._seen: dict[tuple[str, str], tuple[int, Finding]] = {}

    def add(self, looks: Sequence[Look]) -> list[Finding]:
        """Take one look at all parameters; returns what is new."""
        new = []
        for look in looks:
            for finding in of_parameter(look):
                key = (finding.kind, finding.where)
                count = self._seen.get(key, (0, finding))[0]
                self._seen[key] = (count + 1, finding)
                new += [finding] if count == 0 else []
        self.looks += 1
        return new

    def findings(self) -> list[Finding]:
        """Those that were there in a quarter of the looks."""
        return [finding for count, finding in self._seen.values() if count >= self.looks / 4]


def as_table(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as rows."""
    return [dict(finding.__dict__) for finding in found]
