"""A learning rate that is found while training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamkit import prodigy, rule
from adamkit.optax.state import arithmetic_dtype


class Prodigy(NamedTuple):
    """The state of `adam("auto")` and `adamw("auto")`.

    Attributes:
        state: That of Adam, whose moments are of d·g.
        distance: () float32, d: the learning rate that is used now.
        agreement: () float32, r.
        start: A tree like the parameters', θ₀.
        weighted_sum: Another, s, in float32 at least.
    """

    state: Any
    distance: jax.Array
    agreement: jax.Array
    start: optax.Params
    weighted_sum: optax.Updates


def check_auto(learning_rate: Any, **switches: bool) -> bool:
    """Whether the learning rate is to be found; ValueError for another word or a switch that does not go with it."""
    if not isinstance(learning_rate, str):
        return False
    if learning_rate != "auto":
        raise ValueError(f"learning_rate must be a number, a schedule or 'auto'. Received: {learning_rate!r}")
    for name, on in switches.items():
        if on:
            raise ValueError(
                f"learning_rate='auto' does not go with {name}=True: {prodigy.REFUSED[name]}. Received: both"
            )
    return True


def with_found_rate(
    make: Callable[[Any, Any], optax.GradientTransformationExtraArgs], b1: float, b2: float, eps: float
) -> optax.GradientTransformationExtraArgs:
    """Prodigy around Adam, which `make` gives for a learning rate and an ε; see `adamkit.prodigy`."""
    first, second = (rule.Decay.of(rule.check_number(name, value, below=1)) for name, value in (("b1", b1), ("b2", b2)))
    eps = rule.check_number("eps", eps)

    def init(params: optax.Params) -> Prodigy:
        sums = jax.tree.map(lambda x: jnp.zeros_like(x, arithmetic_dtype(x)), params)
        start = jax.tree.map(jnp.array, params)  # copies: a compiled step may write into the parameters
        inner = make(prodigy.START, eps).init(params)
        return Prodigy(inner, jnp.float32(prodigy.START), jnp.float32(0.0), start, sums)

    def update(updates: optax.Updates, state: Prodigy, params: optax.Params | None = None, **_: Any) -> Any:
        if params is None:
            raise ValueError("update needs params: learning_rate='auto' reads how far they are from their start")
        step = jnp.asarray(optax.safe_increment(state.state[0].count), float)
        shares = [rule.bias_correction(step, decay, jnp) for decay in (first, second)]
        d, root = state.distance, jnp.sqrt(jnp.float32(second.beta))
        weight = prodigy.weight(d, jnp.float32(jnp.sqrt(shares[1]) / shares[0]))
        wide = jax.tree.map(lambda g, s: g.astype(s.dtype), updates, state.weighted_sum)
        sums = jax.tree.map(lambda s, g: (root * s + weight * g).astype(s.dtype), state.weighted_sum, wide)
        way = jax.tree.map(lambda g, start, now: jnp.sum(g * (start.astype(g.dtype) - now)), wide, state.start, params)
        agreement = weight * jax.tree.reduce(jnp.add, way, jnp.float32(0.0))
        size = jax.tree.reduce(jnp.add, jax.tree.map(lambda s: jnp.sum(jnp.abs(s)), sums), jnp.float32(0.0))
        found = prodigy.advanced(prodigy.Estimate(d, state.agreement), agreement, size, root, jnp)
        scaled = jax.tree.map(lambda g, given: (d * g).astype(jnp.result_type(given, jnp.float32)), wide, updates)
        changes, inner = make(d, eps * found.distance).update(scaled, state.state, params)
        changes = jax.tree.map(lambda change, given: change.astype(given.dtype), changes, updates)
        numbers = (jnp.float32(found.distance), jnp.float32(found.agreement))
        return changes, Prodigy(inner, *numbers, state.start, sums)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
