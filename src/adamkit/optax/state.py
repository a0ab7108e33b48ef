"""How moments are kept in optax's states: trees like the parameters', of plain arrays.

Without int8 the states are optax's own. With it, codes stand where optax has numbers, and their scales in further trees
of the parameters' structure, so that whatever maps over a state (sharding, `flax.nnx`, Orbax, `optax.tree`) finds
nothing but arrays in places that it knows.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from adamkit import arrays, blockwise, moments


class Int8AdamState(NamedTuple):
    """`optax.ScaleByAdamState` with `moment_dtype="int8"`.

    Attributes:
        count: () int32, steps done.
        mu: For each parameter of at least 4096 elements the codes of m, (…,) uint8; for others m, float32.
        nu: v, likewise.
        mu_scale: For each parameter with codes their scales, uint8: (…, n/64) for a parameter (…, n) where 64 divides
            n, so that they shard with it; else (blocks,). For others `optax.MaskedNode()`.
        nu_scale: Likewise.
    """

    count: Any  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: optax.Updates
    nu: optax.Updates
    mu_scale: optax.Updates
    nu_scale: optax.Updates


class Int8AmsgradState(NamedTuple):
    """`optax.ScaleByAmsgradState` with `moment_dtype="int8"`: m as in `Int8AdamState`, v and its largest bfloat16."""

    count: Any  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: optax.Updates
    nu: optax.Updates
    nu_max: optax.Updates
    mu_scale: optax.Updates


class Float32Parameters(NamedTuple):
    """What `parameter_rounding="compensated"` keeps.

    Attributes:
        values: Of each bfloat16 or float16 parameter the float32 that it is rounded from; of others
            `optax.MaskedNode()`.
    """

    values: optax.Updates


class ScheduleFree(NamedTuple):
    """That the state before it is of `schedule_free`, whose `mu` is x - y.

    Attributes:
        weight_sum: () float32, the sum of η² so far.
    """

    weight_sum: jax.Array


ADAM_STATES = (optax.ScaleByAdamState, Int8AdamState)
AMSGRAD_STATES = (optax.ScaleByAmsgradState, Int8AmsgradState)
STATES = (*ADAM_STATES, *AMSGRAD_STATES)
MOMENTS = ("mu", "nu", "nu_max")


class Stored(NamedTuple):
    """One moment of one parameter."""

    values: Any  # (…,), numbers or codes; of v `blockwise.shape_of_blocks`, where these share it
    scales: Any  # uint8, or `optax.MaskedNode()`


def begun(params: optax.Params, moment_dtype: str, mu_dtype: Any, *, amsgrad: bool, in_blocks: bool) -> Any:
    """The state before the first step."""
    names = MOMENTS if amsgrad else MOMENTS[:2]

    def kept(name: str) -> Any:
        options = {"amsgrad": amsgrad, "in_blocks": in_blocks}
        return jax.tree.map(lambda x: _zeros(x, name, moment_dtype, mu_dtype, **options), params)

    trees = {name: kept(name) for name in names}  # an array for each, so that a compiled step can write into all
    kind = (AMSGRAD_STATES if amsgrad else ADAM_STATES)[moment_dtype == "int8"]
    return state_of(kind, jnp.zeros((), jnp.int32), trees)


def state_of(kind: Any, count: Any, trees: dict[str, Any]) -> Any:
    """A state of one of `STATES` from trees of `Stored`."""

    def part(tree: Any, name: str) -> Any:
        return jax.tree.map(lambda stored: getattr(stored, name), tree, is_leaf=_is_stored)

    values = {name: part(tree, "values") for name, tree in trees.items()}
    scaled = [name for name in trees if f"{name}_scale" in kind._fields]
    return kind(count, **values, **{f"{name}_scale": part(trees[name], "scales") for name in scaled})


def leaves_of(state: Any, structure: Any) -> dict[str, list[Stored]]:
    """Each moment's leaves, in the order of a tree's structure."""
    kept = {}
    for name in MOMENTS:
        if (tree := getattr(state, name, None)) is not None:
            values = structure.flatten_up_to(tree)
            scales = getattr(state, f"{name}_scale", None)
            scales = [optax.MaskedNode()] * len(values) if scales is None else structure.flatten_up_to(scales)
            kept[name] = [Stored(*pair) for pair in zip(values, scales, strict=True)]
    return kept


def read(stored: Stored, name: str, dtype: Any) -> jax.Array:
    """A moment as numbers of a dtype."""
    if has_scales(stored):
        decode = moments.decode_first if name == "mu" else moments.decode_second
        return decode(*stored, jnp).astype(dtype)
    values = jnp.asarray(stored.values)
    if jnp.iscomplexobj(values) and not jnp.issubdtype(dtype, jnp.complexfloating):
        values = values.real
    return values.astype(dtype)


def written(moment: jax.Array, before: Stored, name: str, count: Any) -> Stored:
    """A moment as it was stored before."""
    if has_scales(before):
        encode = moments.encode_first if name == "mu" else moments.encode_second
        return Stored(*encode(moment.astype(jnp.float32), count, jnp, shaped=True))
    if before.values.dtype == jnp.bfloat16 and not jnp.iscomplexobj(moment):
        moment = moments.round_to_bfloat16(moment.astype(jnp.float32), count, arrays.namespace(jnp))
    return Stored(moment.astype(before.values.dtype), before.scales)


def has_scales(stored: Stored) -> bool:
    """Whether a moment is stored as int8."""
    return not isinstance(stored.scales, optax.MaskedNode)


def arithmetic_dtype(array: Any) -> Any:
    """float64 for float64, float32 for all that is narrower or whole; complex numbers of these for complex ones."""
    dtype = jnp.result_type(array)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return dtype
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise TypeError(f"adam can only optimize arrays of numbers. Received: dtype {dtype}")
    return jnp.float64 if dtype == jnp.float64 else jnp.float32


def _zeros(parameter: Any, name: str, moment_dtype: str, mu_dtype: Any, *, amsgrad: bool, in_blocks: bool) -> Stored:
    """A moment before the first step, where its parameter is."""
    shape, dtype = jnp.shape(parameter), arithmetic_dtype(parameter)
    if moment_dtype != "float32" and jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"moment_dtype={moment_dtype!r} needs real parameters. Received: one of dtype {dtype}")
    if moment_dtype == "int8" and dtype == jnp.float64:
        raise ValueError(
            "moment_dtype='int8' is for parameters of float32, bfloat16 or float16; float64 ones need "
            "moment_dtype='float32', which keeps float64. Received: a parameter of dtype float64"
        )
    stored = moments.format_of(math.prod(shape), moment_dtype)
    stored = stored if name == "mu" else moments.second_format(stored, amsgrad, in_blocks)
    if stored == "int8":
        scales = moments.shape_of_scales(shape, shaped=True)
        return Stored(jnp.zeros_like(parameter, jnp.uint8), _placed(jnp.zeros(scales, jnp.uint8), parameter))
    dtype = jnp.bfloat16 if stored == "bfloat16" else dtype
    if in_blocks and name != "mu":
        along = blockwise.axes_of_blocks(shape, blockwise.LAST)
        zeros = jnp.zeros(blockwise.shape_of_blocks(shape, blockwise.LAST), dtype)
        return Stored(_placed(zeros, parameter, along), optax.MaskedNode())
    dtype = mu_dtype if name == "mu" and mu_dtype is not None else dtype
    return Stored(jnp.zeros_like(parameter, dtype), optax.MaskedNode())


def _placed(beside: jax.Array, parameter: Any, whole: tuple[int, ...] = ()) -> jax.Array:
    """Scales or a v, sharded as their parameter where they can be, but for axes that are to be whole."""
    concrete = isinstance(parameter, jax.Array) and not isinstance(parameter, Tracer)
    sharding = parameter.sharding if concrete else None
    if not isinstance(sharding, jax.sharding.NamedSharding) or beside.ndim != parameter.ndim:
        return beside
    spec = [None if axis in whole else names for axis, names in enumerate(sharding.spec)]
    try:
        return jax.device_put(beside, jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*spec)))
    except ValueError:  # an axis is not whole blocks on each device
        return beside


def _is_stored(node: Any) -> bool:
    return isinstance(node, Stored)
