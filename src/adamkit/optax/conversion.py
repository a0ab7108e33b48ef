"""State of optax's own Adam, AdamW, NAdam and AMSGrad, and back."""

from typing import Any

import jax
import jax.numpy as jnp

from adamkit import moments, rule
from adamkit.blockwise import fitted
from adamkit.optax.state import (
    ADAM_STATES,
    MOMENTS,
    STATES,
    Float32Parameters,
    begun,
    has_scales,
    leaves_of,
    read,
    state_of,
    written,
)


def from_optax(state: Any, *, moment_dtype: str = "float32", b2: float = 0.999, blockwise: bool = False) -> Any:
    """The state of `adam`, `adamw` or `amsgrad` here that continues a run of optax's.

    Without int8 the state of optax's `adam` and `adamw` is ours as it stands, but for the moments of narrow parameters,
    which become float32. Of `optax.amsgrad` the largest v̂ is taken as the largest v that has that v̂ now.

    Args:
        state: Of `optax.adam`, `adamw`, `nadam`, `nadamw`, `radam` or `amsgrad`, or a state that holds one.
        moment_dtype: As in `adam`: how the moments are to be stored.
        b2: β₂, for `optax.amsgrad`.
        blockwise: As in `adam`: whether a block shares one v, which is the mean of those of its elements.

    Raises:
        TypeError: There is no such state in it, or `blockwise` is no boolean.
        ValueError: `moment_dtype` is unknown.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> state = optax.adam(0.1).init(jnp.ones((64, 64)))
        >>> from_optax(state, moment_dtype="int8")[0].mu_scale.shape
        (64, 1)
    """
    moments.check_format("moment_dtype", moment_dtype)
    rule.check_flag("blockwise", blockwise)

    def converted(old: Any) -> Any:
        amsgrad = not isinstance(old, ADAM_STATES)
        structure = jax.tree.structure(old.mu)
        new = begun(old.mu, moment_dtype, None, amsgrad=amsgrad, in_blocks=blockwise)
        return _rewritten(old, new, structure, _correction(old.count, b2) if amsgrad else 1.0)

    return _mapped(state, converted, "state")


def to_optax(state: Any, *, b2: float = 0.999) -> Any:
    """The state of optax's `adam`, `adamw` or `amsgrad` that continues a run of ours: the inverse of `from_optax`.

    Moments become float32 (float64 stays), and a v that a block shares that of each of its elements. What
    `parameter_rounding="compensated"` keeps is left out.

    Args:
        state: Of `adam`, `adamw` or `amsgrad`, or one that holds it.
        b2: β₂, for `amsgrad`.

    Raises:
        TypeError: There is no such state in it.

    Warns:
        UserWarning: It is of `blockwise`.

    Example:
        >>> import jax.numpy as jnp
        >>> from adamkit.optax import adam
        >>> state = to_optax(adam(0.1, moment_dtype="int8").init(jnp.ones((64, 64))))
        >>> type(state[0]).__name__, state[0].mu.dtype
        ('ScaleByAdamState', dtype('float32'))
    """

    def converted(old: Any) -> Any:
        amsgrad = not isinstance(old, ADAM_STATES)
        structure = jax.tree.structure(old.mu)
        wide = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype if x.dtype == jnp.float64 else jnp.float32), old.mu)
        new = begun(wide, "float32", None, amsgrad=amsgrad, in_blocks=False)
        return _rewritten(old, new, structure, 1 / _correction(old.count, b2) if amsgrad else 1.0)

    if isinstance(state, tuple) and any(isinstance(part, Float32Parameters) for part in state):
        state = tuple(part for part in state if not isinstance(part, Float32Parameters))
    return _mapped(state, converted, "state")


def _mapped(state: Any, converted: Any, name: str) -> Any:
    """A state with each state of Adam in it converted."""
    found = []

    def visit(node: Any) -> Any:
        if not isinstance(node, STATES):
            return node
        found.append(node)
        return converted(node)

    new = jax.tree.map(visit, state, is_leaf=lambda node: isinstance(node, STATES))
    if not found:
        accepted = ", ".join(kind.__name__ for kind in STATES)
        raise TypeError(f"{name} must hold one of {accepted}. Received: {type(state).__name__}")
    return new


def _rewritten(old: Any, new: Any, structure: Any, factor: Any) -> Any:
    """The moments of one state in the formats of another, the largest v times a factor."""
    before, after = leaves_of(old, structure), leaves_of(new, structure)
    trees = {}
    for name in MOMENTS[: len(before)]:
        leaves = []
        for source, target in zip(before[name], after[name], strict=True):
            if has_scales(source) and has_scales(target):
                leaves.append(source)
                continue
            dtype = jnp.float32 if has_scales(target) or target.values.dtype == jnp.bfloat16 else target.values.dtype
            moment = fitted(read(source, name, dtype), target.values.shape, jnp)
            moment = moment * jnp.asarray(factor, dtype) if name == "nu_max" else moment
            leaves.append(written(moment, target, name, old.count))
        trees[name] = structure.unflatten(leaves)
    return state_of(type(new), old.count, trees)


def _correction(count: Any, b2: float) -> Any:
    """1 - β₂ᵗ, or 1 before the first step."""
    return jnp.where(count > 0, rule.bias_correction(jnp.maximum(count, 1) * 1.0, rule.Decay.of(b2), jnp), 1.0)
