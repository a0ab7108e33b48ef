"""Optimizers as pure functions of JAX arrays, so that an experiment can map and compile them.

`adam` is `adamkit.rule` with its switches; `of_optax` takes any of optax's. `descend` runs one from a start.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamkit import rule


class Optimizer(NamedTuple):
    """Two functions; parameters, gradients and states are trees of arrays."""

    init: Callable[[Any], Any]  # parameters -> state
    step: Callable[[Any, Any, Any], tuple[Any, Any]]  # parameters, gradients, state -> parameters, state


def adam(
    learning_rate: Any,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = 0.0,
    *,
    amsgrad: bool = False,
    lazy: bool = False,
    **switches: Any,
) -> Optimizer:
    """Adam by `adamkit.rule`.

    Args:
        learning_rate: η: a number, traced or not, or a function of the step (from 1). So are the next four, but β are
            numbers or `rule.Decay`.
        beta_1: β₁.
        beta_2: β₂.
        epsilon: ε.
        weight_decay: λ.
        amsgrad: With the largest second moment so far.
        lazy: Entries whose gradient is exactly 0 are left alone, and so are their moments.
        **switches: `decoupled`, `bias_correction`, `adaptivity` and `variant` of `rule.coefficients`.
    """
    first, second = (beta if isinstance(beta, rule.Decay) else rule.Decay.of(beta) for beta in (beta_1, beta_2))

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return jnp.zeros(()), zeros, zeros, zeros if amsgrad else None

    def step(parameters, gradients, state):
        t = state[0] + 1
        rate = learning_rate(t) if callable(learning_rate) else learning_rate
        k = rule.coefficients(t, rate, first, second, epsilon, weight_decay, xp=jnp, **switches)
        leaves, structure = jax.tree.flatten(parameters)
        own = [structure.flatten_up_to(tree) for tree in (gradients, *state[1:3])]
        largest = structure.flatten_up_to(state[3]) if amsgrad else [None] * len(leaves)
        news = []
        for parameter, gradient, m, v, most in zip(leaves, *own, largest, strict=True):
            new = rule.update(parameter, gradient, m, v, most, k, xp=jnp)
            if lazy:
                before = rule.Update(parameter, m, v, most)
                new = jax.tree.map(lambda a, b, g=gradient: jnp.where(g == 0, b, a), new, before)
            news.append(new)
        parameters, m, v, largest = (structure.unflatten([new[i] for new in news]) for i in range(4))
        return parameters, (t, m, v, largest if amsgrad else None)

    return Optimizer(init, step)


def of_optax(transformation: optax.GradientTransformation) -> Optimizer:
    """One of optax's optimizers."""

    def step(parameters, gradients, state):
        changes, state = transformation.update(gradients, state, parameters)
        return optax.apply_updates(parameters, changes), state

    return Optimizer(transformation.init, step)


def descend(
    optimizer: Optimizer, gradient: Callable[[Any, Any], Any], start: Any, inputs: Any, *, keep: bool = True
) -> tuple[Any, Any]:
    """The path of an optimizer.

    Args:
        optimizer: …
        gradient: A function of the parameters and a step's input that returns a tree like the parameters.
        start: The parameters before the first step.
        inputs: What the steps are given, a row of these arrays (steps, …) each; or only how many steps there are.
        keep: Whether the path is kept.

    Returns:
        The parameters after the last step, and a tree of them after each, with a leading axis of the steps; or None.
    """

    def one(carry, given):
        parameters, state = carry
        carry = optimizer.step(parameters, gradient(parameters, given), state)
        return carry, carry[0] if keep else None

    inputs = jnp.arange(inputs) if isinstance(inputs, int) else inputs
    (end, _), path = jax.lax.scan(one, (start, optimizer.init(start)), inputs)
    return end, path


def decays(values: Any) -> rule.Decay:
    """`rule.Decay` of many β at once, (n,) each: to be mapped over."""
    parts = zip(*(rule.Decay.of(float(value)) for value in values), strict=True)
    return rule.Decay(*(jnp.array(part) for part in parts))
