"""Adding updates to parameters without losing what rounding would drop."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from adamkit import rounding
from adamkit.optax.state import Float32Parameters, ScheduleFree, leaves_of, read


def apply_updates(params: optax.Params, updates: optax.Updates, state: Any = None) -> optax.Params:
    """The parameters after a step: as `optax.apply_updates`, but exact with `parameter_rounding="compensated"`.

    A bfloat16 or float16 parameter is that nearest to the float32 which the state keeps of it, so that its training is
    that of a float32 parameter, to the bit. `optax.apply_updates` mostly gives the same; where it does not, as of a
    parameter that crosses zero, its result counts, and what rounding dropped there is lost.

    Args:
        params: Those that the updates were computed with.
        updates: What `update` returned, with nothing done to them since.
        state: The state that it returned with them, also inside of the state of `optax.chain` and the like; or None,
            which is `optax.apply_updates`. For `flax.nnx` and Equinox give the state that their optimizer or loop
            holds, and the parameters as a tree of arrays.

    Returns:
        A tree like `params`.

    Example:
        >>> import jax.numpy as jnp
        >>> from adamkit.optax import adam
        >>> optimizer = adam(0.001, parameter_rounding="compensated")
        >>> x = jnp.ones(1, jnp.bfloat16)
        >>> state = optimizer.init(x)
        >>> for _ in range(10):  # each by 0.001, of which a bfloat16 near 1 knows nothing
        ...     updates, state = optimizer.update(jnp.ones(1, jnp.bfloat16), state, x)
        ...     x = apply_updates(x, updates, state)
        >>> float(x[0])
        0.98828125
    """
    new = optax.apply_updates(params, updates)
    for kept in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Float32Parameters)):
        if isinstance(kept, Float32Parameters):
            leaves, structure = jax.tree.flatten(new)
            values = structure.flatten_up_to(kept.values)
            new = structure.unflatten(
                [
                    leaf if isinstance(value, optax.MaskedNode) else value.astype(leaf.dtype)
                    for leaf, value in zip(leaves, values, strict=True)
                ]
            )
    return new


def schedule_free_eval_params(state: optax.OptState, params: optax.Params) -> optax.Params:
    """The parameters to evaluate, to use and to save, of a run with `schedule_free=True`: x, where `params` are y.

    Statistics of batch normalization are still those at y: go through some data with x and let the layers average.

    Args:
        state: Of `adam` or `adamw` with `schedule_free=True`, also inside of another state.
        params: Those of training that belong to it. They are to be kept: the next step starts from them.

    Raises:
        ValueError: There is no state of a schedule-free run in it, or more than one.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from adamkit.optax import adam
        >>> optimizer = adam(0.1, schedule_free=True)
        >>> x = jnp.array([3.0])
        >>> state = optimizer.init(x)
        >>> for _ in range(500):  # minimize x²
        ...     updates, state = optimizer.update(2 * x, state, x)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(jnp.abs(schedule_free_eval_params(state, x))[0] < 0.05)
        True
    """
    nodes = jax.tree.leaves(state, is_leaf=_is_schedule_free)
    found = [node for node in nodes if _is_schedule_free(node)]
    if len(found) != 1:
        raise ValueError(
            "state must hold one state of adam(…, schedule_free=True) or adamw(…, schedule_free=True). Received: "
            f"{len(found)} in a {type(state).__name__}"
        )
    kept, *others = found[0]
    leaves, structure = jax.tree.flatten(params)
    exact = [part.values for part in others if isinstance(part, Float32Parameters)]
    wide = structure.flatten_up_to(exact[0]) if exact else [optax.MaskedNode()] * len(leaves)
    averages = []
    for leaf, value, stored in zip(leaves, wide, leaves_of(kept, structure)["mu"], strict=True):
        dtype = jnp.result_type(leaf, jnp.float32)
        y = leaf.astype(dtype) if isinstance(value, optax.MaskedNode) else rounding.restore(leaf, value, jnp)
        averages.append((y + read(stored, "mu", dtype)).astype(leaf.dtype))
    return structure.unflatten(averages)


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, tuple) and bool(node) and isinstance(node[-1], ScheduleFree)
