"""Adam's state in optax as NumPy arrays, and from them: what `adamkit.convert` reads and gives."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamkit import carried as states
from adamkit.blockwise import fitted
from adamkit.carried import Carried, Moment, Parameter
from adamkit.optax.automatic import Prodigy
from adamkit.optax.state import (
    AMSGRAD_STATES,
    MOMENTS,
    STATES,
    Float32Parameters,
    ScheduleFree,
    Stored,
    has_scales,
    leaves_of,
    state_of,
    written,
)

_NAMES: dict[str, str] = dict(zip(MOMENTS, states.MOMENTS, strict=True))
_PARTS = (*STATES, Float32Parameters, ScheduleFree, Prodigy, optax.ScaleByScheduleState)


def has(state: Any) -> bool:
    """Whether there is a state of Adam in it."""
    return any(isinstance(part, (*STATES, Prodigy)) for part in _parts(state))


def carried(state: Any) -> Carried:
    """The state of Adam that is in a state."""
    adam = _only(state, "state")
    exact = next((part for part in _parts(state) if isinstance(part, Float32Parameters)), None)
    return Carried(int(adam.count), _parameters(adam, exact))


def converted(state: Carried, like: Any, names: Mapping[str, Any] | None) -> Any:
    """A state like `like`, with that of Adam in it replaced."""
    adam = _only(like, "like")
    found = states.matched(state, _parameters(adam, None), names)
    states.check_amsgrad(found, amsgrad=isinstance(adam, AMSGRAD_STATES))
    structure = jax.tree.structure(adam.mu)

    def of_adam(before: Any) -> Any:
        count = jnp.asarray(found.step, before.count.dtype)
        trees = {}
        for name, leaves in leaves_of(before, structure).items():
            kept = [
                _stored(parameter.moments[_NAMES[name]], leaf, name, count)
                for parameter, leaf in zip(found.parameters, leaves, strict=True)
            ]
            trees[name] = structure.unflatten(kept)
        return state_of(type(before), count, trees)

    def of_exact(before: Float32Parameters) -> Float32Parameters:
        leaves = structure.flatten_up_to(before.values)
        pairs = zip(found.parameters, leaves, strict=True)
        new = [leaf if parameter.exact is None else _like(parameter.exact, leaf) for parameter, leaf in pairs]
        return Float32Parameters(structure.unflatten(new))

    def replaced(part: Any) -> Any:
        if isinstance(part, STATES):
            return of_adam(part)
        if isinstance(part, Float32Parameters):
            return of_exact(part)
        if isinstance(part, optax.ScaleByScheduleState):  # the learning rate counts by itself
            return optax.ScaleByScheduleState(_like(found.step, part.count))
        return part

    return jax.tree.map(replaced, like, is_leaf=lambda node: isinstance(node, _PARTS))


def _parts(state: Any) -> list[Any]:
    return jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, _PARTS))


def _only(state: Any, name: str) -> Any:
    parts = _parts(state)
    schedule_free, auto = (any(isinstance(part, kind) for part in parts) for kind in (ScheduleFree, Prodigy))
    states.refuse_further_state(name, schedule_free=schedule_free, auto=auto)
    found = [part for part in parts if isinstance(part, STATES)]
    if len(found) != 1:
        accepted = ", ".join(kind.__name__ for kind in STATES)
        raise TypeError(f"{name} must hold one of {accepted}, once. Received: {type(state).__name__} with {len(found)}")
    return found[0]


def _parameters(adam: Any, exact: Float32Parameters | None) -> list[Parameter]:
    structure = jax.tree.structure(adam.mu)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(adam.mu)]
    kept = leaves_of(adam, structure)
    wide = [None] * len(paths) if exact is None else structure.flatten_up_to(exact.values)
    made = []
    for i, path in enumerate(paths):
        if jnp.iscomplexobj(kept["mu"][i].values):
            raise ValueError(f"parameters must be real. Received: {path or 'the only one'}, which is complex")
        of_parameter = {_NAMES[name]: _moment(leaves[i]) for name, leaves in kept.items()}
        theta = None if wide[i] is None or isinstance(wide[i], optax.MaskedNode) else np.asarray(wide[i])
        made.append(Parameter(path, tuple(kept["mu"][i].values.shape), of_parameter, theta))
    return made


def _moment(stored: Stored) -> Moment:
    if has_scales(stored):
        return Moment(np.asarray(stored.values), np.asarray(stored.scales).reshape(-1))
    return Moment(states.widened(np.asarray(stored.values)))


def _stored(moment: Moment, before: Stored, name: str, count: Any) -> Stored:
    """A moment in the format of what stood there before."""
    if moment.scales is not None and has_scales(before):
        scales = moment.scales.reshape(before.scales.shape)
        return Stored(_like(moment.values, before.values), _like(scales, before.scales))
    new = written(fitted(jnp.asarray(moment.numbers(_NAMES[name])), before.values.shape, jnp), before, name, count)
    return Stored(_like(new.values, before.values), new.scales)


def _like(array: Any, before: Any) -> Any:
    """An array in the dtype and where another one is."""
    array = jnp.asarray(array, before.dtype)
    return jax.device_put(array, before.sharding) if isinstance(before, jax.Array) else array
