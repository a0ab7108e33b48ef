"""The oracle: Adam's equations, from the paper alone, in float64 or in 50 decimal digits.

Kingma and Ba 2015, Algorithm 1, line by line, with the variants that `adamkit` has. It shares no code with `src/` and
takes no care of speed. Arrays hold float64, or mpmath numbers (dtype object) with `exact=True`.
"""

from typing import NamedTuple

import mpmath
import numpy as np

mpmath.mp.dps = 50


class State(NamedTuple):
    """θ, m, v and (for AMSGrad) the largest v; t steps done."""

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
    exact=False,
):
    """One iteration of the loop of Algorithm 1."""
    convert = mpmath.mpf if exact else float
    eta, beta_1, beta_2, epsilon, decay = map(convert, (learning_rate, beta_1, beta_2, epsilon, weight_decay))
    sqrt = np.vectorize(mpmath.sqrt, otypes=[object]) if exact else np.sqrt
    t = state.t + 1
    g = number(gradient, exact=exact)
    theta = state.theta
    if maximize:
        g = -g
    if decoupled:
        theta = theta - eta * decay * theta  # Loshchilov and Hutter 2019
    else:
        g = g + decay * theta
    m = beta_1 * state.m + (1 - beta_1) * g
    v = beta_2 * state.v + (1 - beta_2) * g * g
    v_max = np.maximum(state.v_max, v)  # Reddi et al. 2018
    second = v_max if amsgrad else v
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
