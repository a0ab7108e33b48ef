"""The state of adamkit's transformations as a table."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import optax

from adamkit.description import Description, Row, described, formats
from adamkit.optax.automatic import Prodigy
from adamkit.optax.state import STATES, Float32Parameters, ScheduleFree, has_scales, leaves_of


def describe(params: optax.Params, state: optax.OptState) -> Description:
    """What `adam`, `adamw` and `amsgrad` keep of which parameters, and in how many bytes.

    Args:
        params: The parameters.
        state: The optimizer's state for them, of these transformations alone or anywhere in a chain, in a partition
            (`optax.partition`, whose labels are the groups) or in `optax.inject_hyperparams`, whose numbers are shown;
            other states hold no hyperparameters.

    Returns:
        A table when printed; its `rows` have the figures.

    Raises:
        ValueError: There is no state of Adam in it.

    Example:
        >>> import jax.numpy as jnp
        >>> from adamkit.optax import adam, describe
        >>> params = {"kernel": jnp.zeros((64, 64)), "bias": jnp.zeros(64)}
        >>> print(describe(params, adam(0.001, moment_dtype="int8").init(params)))
        group  variables  parameters  formats                     bytes  settings
        all            1          64  float32, moments float32      512  steps 0
        all            1       4,096  float32, moments int8       8,320  steps 0
        all            2       4,160                              8,832
    """
    dtypes = {path: str(leaf.dtype) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    wide = {
        path: leaf
        for _, _, kept in _found(state, "all", {})
        if isinstance(kept, Float32Parameters)
        for path, leaf in jax.tree_util.tree_leaves_with_path(kept.values)
    }
    further: Counter[Any] = Counter()  # bytes, of a learning rate that is found
    for _, _, kept in _found(state, "all", {}):
        if isinstance(kept, Prodigy):
            for path, leaf in jax.tree_util.tree_leaves_with_path([kept.start, kept.weighted_sum]):
                further[path[1:]] += leaf.nbytes
    rows = [
        row
        for group, numbers, kept in _found(state, "all", {})
        if isinstance(kept, STATES)
        for row in _rows(group, numbers, kept, dtypes, wide, further)
    ]
    if not rows:
        raise ValueError(f"state must hold a state of adamkit.optax's adam, adamw or amsgrad. Received: {state!r:.200}")
    return described(rows)


def _found(state: Any, group: str, numbers: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """The states of this package in a state, each with its group and the hyperparameters that are injected there."""
    if isinstance(state, (*STATES, Float32Parameters)):
        yield group, numbers, state
    elif isinstance(state, Prodigy):
        yield group, numbers, state
        yield from _found(state.state, group, numbers | {"learning_rate": _rounded(state.distance)})
    elif isinstance(state, dict):
        for name, inner in state.items():
            yield from _found(inner, str(name), numbers)
    elif isinstance(state, tuple):
        injected = getattr(state, "hyperparams", {})
        numbers = numbers | {name: _rounded(value) for name, value in injected.items()}
        if any(isinstance(part, ScheduleFree) for part in state):
            numbers = numbers | {"schedule_free": True}
        for part in state:
            if part is not injected:
                yield from _found(part, group, numbers)


def _rows(group: str, numbers: dict, state: Any, dtypes: dict, wide: dict, further: dict) -> Iterator[Row]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state.nu)]
    kept = leaves_of(state, jax.tree.structure(state.nu))
    for place, path in enumerate(paths):
        stored = [leaves[place] for leaves in kept.values()]
        beside = wide.get(path)
        parts = [stored.values for stored in stored] + [one.scales for one in stored if has_scales(one)]
        parts += [] if beside is None else [beside]
        yield Row(
            group,
            1,
            stored[0].values.size,
            formats(
                dtypes.get(path, "unknown"),
                ["int8" if has_scales(one) else str(one.values.dtype) for one in stored],
                None if beside is None else str(beside.dtype),
            ),
            sum(part.size * part.dtype.itemsize for part in parts) + further[path],
            {"steps": int(state.count)} | numbers,
        )


def _rounded(value: Any) -> float:
    return float(f"{float(value):.6g}")
