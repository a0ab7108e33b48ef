"""Adding updates to parameters without losing what rounding would drop."""

from typing import Any

import jax
import optax

from adamkit.optax.state import Float32Parameters


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
