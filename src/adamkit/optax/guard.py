"""Leaving out steps whose gradients are not finite."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamkit.guards import check_nonfinite


class Guarded(NamedTuple):
    """The state of `adam(…, on_nonfinite="skip")` and the like.

    Attributes:
        state: That of the optimizer.
        skipped_steps: () int32.
    """

    state: optax.OptState
    skipped_steps: jax.Array


def guarded(plain: optax.GradientTransformationExtraArgs, on_nonfinite: str) -> optax.GradientTransformationExtraArgs:
    """`plain`; with "skip", a step in which a gradient is not finite changes nothing and is counted."""
    if check_nonfinite("on_nonfinite", on_nonfinite) == "raise":
        raise ValueError("on_nonfinite must be 'propagate' or 'skip' in optax. Received: on_nonfinite='raise'")
    if on_nonfinite == "propagate":
        return plain

    def init(params: optax.Params) -> Guarded:
        return Guarded(plain.init(params), jnp.zeros((), jnp.int32))

    def update(updates: optax.Updates, state: Guarded, params: optax.Params | None = None, **_: Any) -> Any:
        finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda g: jnp.isfinite(g).all(), updates), True)
        changes, new = plain.update(updates, state.state, params)
        changes = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), changes)
        kept = jax.tree.map(lambda now, before: jnp.where(finite, now, before), new, state.state)
        return changes, Guarded(kept, state.skipped_steps + jnp.where(finite, 0, 1))

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
