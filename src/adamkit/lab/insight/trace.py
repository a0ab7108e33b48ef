"""The arithmetic of Adam step by step: each quantity of Algorithm 1 as a number, and how it came about."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamkit import functional, rule
from adamkit.lab.errors import InputError
from adamkit.lab.hyperparameters import HYPERPARAMETERS, names

if TYPE_CHECKING:
    import pandas as pd

MOST_STEPS = 100_000


class Step(NamedTuple):
    """One step of one weight or of several, (weights,) float64 each.

    Attributes:
        t: Which, from 1.
        before: θ before it.
        gradient: g.
        first_moment: m.
        second_moment: v.
        m_hat: m̂ = m / (1 − β₁ᵗ).
        v_hat: v̂ = v / (1 − β₂ᵗ), of the largest v so far with AMSGrad.
        change: What is subtracted: η·m̂ / (√v̂ + ε), and η·λ·θ with weight decay.
        after: θ after it.
        largest: The largest v so far, with AMSGrad; else None.
        learning_rate: η of this step.
    """

    t: int
    before: NDArray[np.float64]
    gradient: NDArray[np.float64]
    first_moment: NDArray[np.float64]
    second_moment: NDArray[np.float64]
    m_hat: NDArray[np.float64]
    v_hat: NDArray[np.float64]
    change: NDArray[np.float64]
    after: NDArray[np.float64]
    largest: NDArray[np.float64] | None
    learning_rate: float


@dataclass(frozen=True)
class Trace:
    """What Adam did, step by step.

    Attributes:
        steps: The steps.
        hyperparameters: By name: `learning_rate`, `beta_1` …
        weights: What the weights are called: "θ", or "x" and "y".
        epsilon_hat: Whether ε is added before bias correction, as Keras does.
        kept_in: What m and v are rounded to between two steps, as `moment_dtype` in `adamkit.keras.Adam`, or None.
    """

    steps: list[Step]
    hyperparameters: dict[str, Any]
    weights: tuple[str, ...] = ("θ",)
    epsilon_hat: bool = False
    kept_in: str | None = None

    @property
    def history(self) -> "pd.DataFrame":
        """One row a step and weight: t, weight, theta_before, g, m, v, m_hat, v_hat, step and theta."""
        import pandas as pd

        columns = ("theta_before", "g", "m", "v", "m_hat", "v_hat", "step", "theta")
        rows = []
        for step in self.steps:
            own: Any = step[1 : 1 + len(columns)]
            quantities = np.stack(own)  # (quantities, weights)
            for i, weight in enumerate(self.weights):
                rows.append(
                    {"t": step.t, "weight": weight} | dict(zip(columns, quantities[:, i].tolist(), strict=True))
                )
        return pd.DataFrame(rows, columns=["t", "weight", *columns])

    def explained(self, t: int, weight: int = 0) -> list[tuple[str, list[str]]]:
        """Each quantity of step t of a weight: its symbol, and its formula, the numbers put into it, and the result.

        Args:
            t: Which step, from 1.
            weight: Which weight, from 0.

        Raises:
            InputError: There is no such step.
        """
        if not 1 <= t <= len(self.steps):
            raise InputError(f"step must be one of the {len(self.steps)} steps, from 1. Received: step={t}")
        step = self.steps[t - 1]
        before = self.steps[t - 2] if t > 1 else None
        return _explained(self, step, before, weight)


def trace(
    gradients: "Iterable[ArrayLike] | Callable[[NDArray[np.float64]], ArrayLike]",
    start: ArrayLike = 0.0,
    *,
    steps: int | None = None,
    weights: Sequence[str] | None = None,
    epsilon_hat: bool = False,
    **hyperparameters: Any,
) -> Trace:
    """Take steps of Adam in float64 by `adamkit.rule`, and keep every quantity.

    Args:
        gradients: The gradient of each step: numbers, or arrays (weights,); or a function of θ that gives it.
        start: θ before the first step: a number or (weights,).
        steps: How many; needed where `gradients` is a function.
        weights: What the weights are called. Defaults to "θ" for one, "θ1", "θ2" … for several.
        epsilon_hat: As in `adamkit.step`.
        **hyperparameters: Those of Adam and `learning_rate`; see `adamkit.lab.hyperparameters`.

    Raises:
        InputError: A hyperparameter is unknown or out of range, there is no gradient, or one is no finite number or of
            another shape than `start`.

    Example:
        >>> traced = trace([0.5, 0.5, -1.0], learning_rate=0.1)
        >>> traced.history[["t", "g", "m", "m_hat"]].round(4).values.tolist()
        [[1.0, 0.5, 0.05, 0.5], [2.0, 0.5, 0.095, 0.5], [3.0, -1.0, -0.0145, -0.0535]]
    """
    known: dict[str, Any] = {name: HYPERPARAMETERS[name].default for name in ("learning_rate", *names(of="adam"))}
    unknown = [name for name in hyperparameters if name not in known]
    if unknown:
        raise InputError(f"the hyperparameters must be among {', '.join(known)}. Received: {unknown[0]}")
    known |= hyperparameters
    for name, value in known.items():
        HYPERPARAMETERS[name].check(value)
    theta = _numbers("start", start)
    if callable(gradients):
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
            raise InputError(f"steps must be a whole number >= 1 and <= {MOST_STEPS}. Received: steps={steps!r}")
        following: Any = (gradients(theta) for _ in range(steps))  # θ as it is then
    else:
        following = list(gradients)[:steps]
        if not following:
            raise InputError("gradients must have one number at least. Received: none")
    options: dict[str, Any] = {name: value for name, value in known.items() if name != "amsgrad"}
    state = functional.init(theta, amsgrad=known["amsgrad"])
    taken = []
    for given in following:
        gradient = _numbers("gradients", given)
        if gradient.shape != theta.shape:
            raise InputError(f"gradients must have {theta.size} numbers a step, as start. Received: {gradient.size}")
        before = theta
        theta, state = functional.step(theta, gradient, state, epsilon_hat=epsilon_hat, **options)
        taken.append(step_taken(before, gradient, state, theta, known))
    called = tuple(weights) if weights else ("θ",) if theta.size == 1 else tuple(f"θ{i + 1}" for i in range(theta.size))
    return Trace(taken, known, called, epsilon_hat)


def step_taken(
    before: NDArray, gradient: NDArray, state: functional.AdamState, after: NDArray, known: dict[str, Any]
) -> Step:
    """All quantities of a step, from θ before and after it and the state at its end."""
    t, m, v, largest, _ = state
    one, two = _corrections(t, known)
    v_hat = (v if largest is None else largest) / two
    return Step(t, before, gradient, m, v, m / one, v_hat, before - after, after, largest, known["learning_rate"])


def _corrections(t: int, known: dict[str, Any]) -> tuple[float, float]:
    """1 − β₁ᵗ and 1 − β₂ᵗ, or 1 where there is no bias correction."""
    if not known.get("bias_correction", True):
        return 1.0, 1.0
    one, two = (rule.bias_correction(t, rule.Decay.of(known[name])) for name in ("beta_1", "beta_2"))
    return one, two


def _numbers(name: str, given: Any) -> NDArray[np.float64]:
    try:
        values = np.atleast_1d(np.asarray(given, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers. Received: {given!r}") from error
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(f"{name} must be finite numbers, one for each weight. Received: {given!r}")
    return values


# A step in full.


def number(value: float, digits: int = 6) -> str:
    """So many digits, with a minus sign that is one."""
    return f"{value:.{digits}g}".replace("-", "−")


def _in_product(value: float) -> str:
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def _explained(traced: Trace, step: Step, before: Step | None, i: int) -> list[tuple[str, list[str]]]:
    known, t = traced.hyperparameters, step.t
    g, theta = step.gradient[i], step.before[i]
    eta, decay, adaptive = step.learning_rate, known["weight_decay"], known.get("adaptivity", True)
    one, two = _corrections(t, known)
    parts = [("g", ["the gradient", number(g)])]
    moments = [("m", known["beta_1"], "₁", "g", g, "", "first_moment")]
    hats = [("m̂", "m", step.m_hat[i] * one, known["beta_1"], "₁", step.m_hat[i], one)]
    if adaptive:
        moments.append(("v", known["beta_2"], "₂", "g²", g * g, "²", "second_moment"))
        below = "v" if step.largest is None else "max v"
        hats.append(("v̂", below, step.v_hat[i] * two, known["beta_2"], "₂", step.v_hat[i], two))
    for symbol, beta, index, value, put, square, field in moments:
        old, kept = (0.0 if one is None else getattr(one, field)[i] for one in (before, step))
        into = f"{number(beta)}·{_in_product(old)} + {number(1 - beta)}·{_in_product(g)}{square}"
        lines = [f"β{index}·{symbol} + (1 − β{index})·{value}", into]
        if traced.kept_in is None:
            lines.append(number(kept))
        else:
            lines += [number(beta * old + (1 - beta) * put), f"{number(kept)} as {traced.kept_in} keeps it"]
        parts.append((symbol, lines))
    if adaptive and step.largest is not None:
        parts.append(("max v", ["the largest v so far", number(step.v_hat[i] * two)]))
    for symbol, name, value, beta, index, hat, correction in hats:
        if known.get("bias_correction", True):
            lines = [f"{name} / (1 − β{index}ᵗ)", f"{number(value)} / (1 − {number(beta)}^{t})"]
            parts.append((symbol, [*lines, f"{number(value)} / {number(correction)}", number(hat)]))
        else:
            parts.append((symbol, [f"{name}, without bias correction", number(hat)]))
    formula, into = _of_the_step(traced, step, i)
    if decay:
        formula, into = f"{formula} + η·λ·θ", f"{into} + {number(eta)}·{number(decay)}·{_in_product(theta)}"
    parts.append(("step", [formula, into, number(step.change[i])]))
    name = traced.weights[i] if len(traced.weights) > 1 else "θ"
    parts.append((name, [f"{name} − step", f"{number(theta)} − {_in_product(step.change[i])}", number(step.after[i])]))
    return parts


def _of_the_step(traced: Trace, step: Step, i: int) -> tuple[str, str]:
    """The formula of what is subtracted, but for weight decay, and the numbers put into it."""
    known = traced.hyperparameters
    eta, epsilon = number(step.learning_rate), number(known["epsilon"])
    m_hat, v_hat = step.m_hat[i], step.v_hat[i]
    if not known.get("adaptivity", True):
        return "η·m̂", f"{eta}·{_in_product(m_hat)}"
    if not traced.epsilon_hat:
        return "η·m̂ / (√v̂ + ε)", f"{eta}·{_in_product(m_hat)} / (√{number(v_hat)} + {epsilon})"
    # ε̂ is added to √v, which is √v̂·√(1 − β₂ᵗ): so it stands divided by that.
    root = number(math.sqrt(_corrections(step.t, known)[1]))
    return (
        "η·m̂ / (√v̂ + ε̂/√(1 − β₂ᵗ))",
        f"{eta}·{_in_product(m_hat)} / (√{number(v_hat)} + {epsilon}/{root})",
    )
