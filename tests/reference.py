"""The oracle: Adam's equations, from the paper alone, in float64 or in 50 decimal digits.

Kingma and Ba 2015, Algorithm 1, line by line, with the variants that `adamkit` has. It shares no code with `src/` and
takes no care of speed. Arrays hold float64, or mpmath numbers (dtype object) with `exact=True`.
"""

import math
from typing import NamedTuple

import mpmath
import numpy as np

mpmath.mp.dps = 50


class State(NamedTuple):
    """θ, m (schedule-free: z), v and (for AMSGrad) the largest v; t steps done."""

    theta: np.ndarray
    m: np.ndarray
    v: np.ndarray
    v_max: np.ndarray
    t: int


def number(value, *, exact):
    """`value` (a number or array of binary floats) as float64 or, without rounding, as mpmath numbers."""
    if not exact:
        return np.asarray(value, np.float64)
    return np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(value, np.float64))


def start(theta, *, exact=False):
    """θ₀ with m₀ = v₀ = 0."""
    theta = number(theta, exact=exact)
    return State(theta, theta * 0, theta * 0, theta * 0, 0)


def step(
    state,
    gradient,
    *,
    learning_rate=0.001,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    weight_decay=0.0,
    decoupled=True,
    amsgrad=False,
    epsilon_hat=False,
    maximize=False,
    bias_correction=True,
    adaptivity=True,
    nesterov=False,
    rectified=False,
    cautious=False,
    adopt=False,
    schedule_free=False,
    blockwise=False,
    outputs=-1,
    momentum_decay=None,
    exact=False,
):
    """One iteration of the loop of Algorithm 1, or of that of a variant.

    With `blockwise` θ is (…, inputs, outputs), or has its outputs on the axis of that number; v has θ's shape.
    """
    convert = mpmath.mpf if exact else float
    eta, beta_1, beta_2, epsilon, decay = map(convert, (learning_rate, beta_1, beta_2, epsilon, weight_decay))
    sqrt = np.vectorize(mpmath.sqrt, otypes=[object]) if exact else np.sqrt
    t = state.t + 1
    g = number(gradient, exact=exact)
    theta = state.theta
    if maximize:
        g = -g

    def squared(g):
        if not blockwise:
            return g * g
        others = tuple(axis for axis in range(g.ndim) if g.ndim < 2 or axis != outputs % g.ndim)
        return g * 0 + np.mean(np.asarray(g * g), axis=others, keepdims=True)  # Zhang et al. 2024, Algorithm 1

    if schedule_free:  # Defazio et al. 2024, Algorithm 1, with weight decay at y and a constant η, so that c is 1/t
        g = g if decoupled else g + decay * theta
        z = theta if t == 1 else state.m
        x = (theta - (1 - beta_1) * z) / beta_1
        v = beta_2 * state.v + (1 - beta_2) * squared(g)
        v_max = np.maximum(state.v_max, v)
        root = sqrt((v_max if amsgrad else v) / (1 - beta_2**t if bias_correction else 1))
        root = root + (epsilon / sqrt(1 - beta_2**t) if epsilon_hat else epsilon)
        z = z - eta * (g / root if adaptivity else g) - (eta * decay * theta if decoupled else 0)
        x = (1 - convert(1) / t) * x + z / t
        return State((1 - beta_1) * z + beta_1 * x, z, v, v_max, t)
    if decoupled:
        theta = theta - eta * decay * theta  # Loshchilov and Hutter 2019
    else:
        g = g + decay * theta
    averaged = g
    if adopt:  # Taniguchi et al. 2024, Algorithm 2, whose step t - 1 is step t here
        averaged = g / np.maximum(sqrt(state.v), epsilon)
        bound = convert(t - 1) ** convert(0.25)
        averaged = np.maximum(np.minimum(averaged, bound), -bound)
        beta_2 = beta_2 if t > 1 else convert(0)
    m = beta_1 * state.m + (1 - beta_1) * averaged
    v = beta_2 * state.v + (1 - beta_2) * squared(g)
    v_max = np.maximum(state.v_max, v)  # Reddi et al. 2018
    second = v_max if amsgrad else v
    if nesterov or rectified or cautious or adopt:
        corrected = bias_correction and not adopt
        m_hat = m / (1 - beta_1**t) if corrected else m
        if nesterov:  # Dozat 2016, Algorithm 2, with a constant μ or its schedule
            mu = [beta_1 * (1 - _fall(momentum_decay, i, convert)) for i in range(1, t + 2)]
            now, coming = (math.prod(mu[:n], start=convert(1)) if corrected else 0 for n in (t, t + 1))
            m_hat = mu[t] * m / (1 - coming) + (1 - mu[t - 1]) * averaged / (1 - now)
        root = 1
        if adaptivity and not adopt:
            root = sqrt(second / (1 - beta_2**t) if corrected else second)
            root = root + (epsilon / sqrt(1 - beta_2**t) if epsilon_hat and corrected else epsilon)
        factor = 1
        if rectified:  # Liu et al. 2020, Algorithm 2
            rho_infinity = 2 / (1 - beta_2) - 1
            rho = rho_infinity - 2 * t * beta_2**t / (1 - beta_2**t)
            if rho > 5:
                above = (rho - 4) * (rho - 2) * rho_infinity
                factor = (above / ((rho_infinity - 4) * (rho_infinity - 2) * rho)) ** convert(0.5)
            else:
                root = 1
        change = eta * factor * m_hat / root
        if cautious:  # Liang et al. 2024, Algorithm 1
            change = np.where(change * g > 0, change, change * 0)
        return State(theta - change, m, v, v_max, t)
    if not bias_correction or not adaptivity:  # parts left out, in the words of Algorithm 1
        m_hat = m / (1 - beta_1**t) if bias_correction else m
        v_hat = second / (1 - beta_2**t) if bias_correction and not epsilon_hat else second
        theta = theta - eta * m_hat / (sqrt(v_hat) + epsilon if adaptivity else 1)
    elif epsilon_hat:  # the form before Section 2.1
        alpha = eta * (1 - beta_2**t) ** convert(0.5) / (1 - beta_1**t)
        theta = theta - alpha * m / (sqrt(second) + epsilon)
    else:
        m_hat = m / (1 - beta_1**t)
        v_hat = second / (1 - beta_2**t)
        theta = theta - eta * m_hat / (sqrt(v_hat) + epsilon)
    return State(theta, m, v, v_max, t)


def _fall(momentum_decay, t, convert):
    """½·0.96^(tψ), as in torch.optim.NAdam; 0 without a schedule."""
    return convert(0) if momentum_decay is None else convert("0.96") ** (t * convert(momentum_decay)) / 2


def run(theta, gradients, **options):
    """The states after each of `gradients`, from θ₀ = `theta`."""
    states = []
    state = start(theta, exact=options.get("exact", False))
    for gradient in gradients:
        state = step(state, gradient, **options)
        states.append(state)
    return states


def ulps(actual, expected, scale, dtype):
    """Largest |actual - expected| in units in the last place that `dtype` has at the size of `scale`.

    `expected` holds exact numbers; `actual` binary floats of any dtype.
    """
    error = np.abs(number(actual, exact=True) - expected).astype(np.float64)
    return float(np.max(error / np.spacing(np.abs(np.asarray(scale, dtype))).astype(np.float64)))


class Found(NamedTuple):
    """A run of Prodigy: Adam's state, θ₀, and r, s and d of its estimate."""

    adam: State
    start: np.ndarray
    r: float
    s: np.ndarray
    d: float


def found_start(theta, *, exact=False):
    """Before the first step of Prodigy."""
    state = start(theta, exact=exact)
    return Found(state, state.theta, 0, state.theta * 0, number(1e-6, exact=exact).item())


def found_step(found, gradient, *, beta_1=0.9, beta_2=0.999, epsilon=1e-8, exact=False, **options):
    """One iteration of Prodigy: Mishchenko and Defazio 2023, Algorithm 4, with γ_k = √(1 - β₂ᵗ)/(1 - β₁ᵗ).

    Its step is Adam's with the learning rate d, on d·g. Beside ε stands the d of the next step, as in the authors'
    program, where Algorithm 4 has that of this one.
    """
    convert, root = (mpmath.mpf, mpmath.sqrt) if exact else (float, math.sqrt)
    first, second = convert(beta_1), convert(beta_2)
    g, t, d = number(gradient, exact=exact), found.adam.t + 1, found.d
    gamma = root(1 - second**t) / (1 - first**t)
    share = (1 - root(second)) * gamma * d**2
    r = root(second) * found.r + share * np.sum(g * (found.start - found.adam.theta))
    s = root(second) * found.s + share * g
    size = np.sum(np.abs(s))
    after = max(d, r / size) if size else d
    options = {"beta_1": beta_1, "beta_2": beta_2, "exact": exact, **options}
    return Found(
        step(found.adam, d * g, learning_rate=d, epsilon=convert(epsilon) * after, **options), found.start, r, s, after
    )
