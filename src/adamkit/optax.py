"""Adam for JAX, as a gradient transformation for optax."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamkit import arrays, moments, rule
from adamkit.guards import check_nonfinite

__all__ = ["Blocks", "Guarded", "adam"]


class Blocks(NamedTuple):
    """A moment with `moment_dtype="int8"`: a leaf of `mu` or `nu`; see `adamkit.moments`."""

    codes: jax.Array  # (…,) uint8, of the parameter's shape
    scales: jax.Array  # (blocks,) uint8


class Guarded(NamedTuple):
    """The state of `adam(…, on_nonfinite="skip")`."""

    state: optax.OptState
    skipped_steps: jax.Array  # () int32


def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    *,
    moment_dtype: str = "float32",
    on_nonfinite: str = "propagate",
) -> optax.GradientTransformation:
    """Adam: Kingma and Ba 2015 (arXiv:1412.6980), Algorithm 1, with the argument names of `optax.adam`.

    It differs from `optax.adam` in its numbers: arithmetic and moments are float32 (float64 for float64 parameters)
    also where parameters and gradients are bfloat16 or float16, and bias correction loses no digits. The updates have
    the dtype of the arithmetic, so that `optax.apply_updates` rounds a narrow parameter only once. What that drops is
    lost, since the parameters are the caller's: keep them in float32, and compute with a narrow copy.

    Args:
        learning_rate: η >= 0, or a schedule: a function of the number of steps done.
        b1: 0 <= β₁ < 1, the decay rate of the first moment.
        b2: 0 <= β₂ < 1, the decay rate of the second moment.
        eps: ε >= 0, added to the root of the bias-corrected second moment.
        moment_dtype: How the moments are stored: "float32" (8 bytes a parameter; float64 for float64 parameters),
            "bfloat16" (4 bytes) or "int8" (2 bytes; not for float64; arrays of less than 4096 elements stay float32).
        on_nonfinite: What a step does where a gradient has a NaN or an infinity: "propagate" what the formula gives,
            or "skip": the updates are 0 and the state stays as it is. "raise" is not for JAX, whose programs cannot.

    Returns:
        A transformation whose state is an `optax.ScaleByAdamState`: `count`, `mu` (the first moment) and `nu` (the
        second), trees like the parameters'. With "int8" their leaves are `Blocks`, apart from those of small arrays.
        With "skip" it is a `Guarded`, which has that state and counts `skipped_steps`.

    Raises:
        TypeError: An argument has the wrong type, or a parameter is not real floating point.
        ValueError: A number is out of range, `moment_dtype` is unknown, or it is "int8" and a parameter float64.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> optimizer = adam(0.01)
        >>> x = jnp.array([3.0, -2.0])
        >>> state = optimizer.init(x)
        >>> @jax.jit
        ... def step(x, state):  # minimize the sum of x²
        ...     updates, state = optimizer.update(2 * x, state)
        ...     return optax.apply_updates(x, updates), state
        >>> for _ in range(2000):
        ...     x, state = step(x, state)
        >>> bool(jnp.abs(x).max() < 1e-3)
        True
    """
    if not callable(learning_rate):
        learning_rate = _number("learning_rate", learning_rate)
    first_decay, second_decay = _decay("b1", b1), _decay("b2", b2)
    eps = _number("eps", eps)
    moments.check_format("moment_dtype", moment_dtype)
    if check_nonfinite("on_nonfinite", on_nonfinite) == "raise":
        raise ValueError("on_nonfinite must be 'propagate' or 'skip' in optax. Received: on_nonfinite='raise'")

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        def zeros() -> Any:  # an array for each moment, so that a compiled step can be given both to write into
            return jax.tree.map(lambda x: _zeros(x, moment_dtype), params)

        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu=zeros(), nu=zeros())

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        k = rule.coefficients(
            jnp.asarray(count, float),
            learning_rate(state.count) if callable(learning_rate) else learning_rate,
            first_decay,
            second_decay,
            eps,
            xp=jnp,
        )
        gradients, structure = jax.tree.flatten(updates)
        first, second = (structure.flatten_up_to(moment) for moment in (state.mu, state.nu))
        steps = [_step(*leaves, count, k) for leaves in zip(gradients, first, second, strict=True)]
        changes, mu, nu = (structure.unflatten([step[i] for step in steps]) for i in range(3))
        return changes, optax.ScaleByAdamState(count, mu=mu, nu=nu)

    plain = optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
    return plain if on_nonfinite == "propagate" else _skipping(plain)


def _skipping(plain: optax.GradientTransformation) -> optax.GradientTransformation:
    """`plain`, but for a step in which a gradient is not finite, which changes nothing and is counted."""

    def init(params: optax.Params) -> Guarded:
        return Guarded(plain.init(params), jnp.zeros((), jnp.int32))

    def update(updates: optax.Updates, state: Guarded, params: optax.Params | None = None) -> Any:
        finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda g: jnp.isfinite(g).all(), updates), True)
        changes, new = plain.update(updates, state.state, params)
        changes = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), changes)
        kept = jax.tree.map(lambda now, before: jnp.where(finite, now, before), new, state.state)
        return changes, Guarded(kept, state.skipped_steps + jnp.where(finite, 0, 1))

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _step(gradient: Any, first: Any, second: Any, count: Any, k: rule.Coefficients) -> tuple[Any, ...]:
    """The change of a parameter, and its new moments as they are stored."""
    kept_in = getattr(first, "dtype", None)
    dtype = kept_in if kept_in in (jnp.float32, jnp.float64) else _arithmetic_dtype(gradient)
    k = jax.tree.map(lambda x: x.astype(dtype) if isinstance(x, jax.Array) else x, k)
    m, v = (_read(stored, decode, dtype) for stored, decode in zip((first, second), _DECODE, strict=True))
    new = rule.update(jnp.zeros_like(m), jnp.asarray(gradient, dtype), m, v, None, k, xp=jnp)
    kept = zip((new.first_moment, new.second_moment), (first, second), _ENCODE, strict=True)
    return new.parameter, *(_written(moment, stored, encode, count) for moment, stored, encode in kept)


_DECODE = (moments.decode_first, moments.decode_second)
_ENCODE = (moments.encode_first, moments.encode_second)


def _zeros(parameter: Any, moment_dtype: str) -> Any:
    """A moment before the first step."""
    shape, dtype = jnp.shape(parameter), _arithmetic_dtype(parameter)
    size = math.prod(shape)
    if moment_dtype == "int8" and dtype == jnp.float64:
        raise ValueError(
            "moment_dtype='int8' is for parameters of float32, bfloat16 or float16; float64 ones need "
            "moment_dtype='float32', which keeps float64. Received: a parameter of dtype float64"
        )
    stored = moments.format_of(size, moment_dtype)
    if stored == "int8":
        return Blocks(jnp.zeros(shape, jnp.uint8), jnp.zeros(moments.blocks(size), jnp.uint8))
    return jnp.zeros(shape, jnp.bfloat16 if stored == "bfloat16" else dtype)


def _read(stored: Any, decode: Any, dtype: Any) -> jax.Array:
    return decode(*stored, jnp).astype(dtype) if isinstance(stored, Blocks) else stored.astype(dtype)


def _written(moment: jax.Array, before: Any, encode: Any, count: Any) -> Any:
    """A moment as it was stored before."""
    if isinstance(before, Blocks):
        return Blocks(*encode(moment.astype(jnp.float32), count, jnp))
    if before.dtype == jnp.bfloat16:
        moment = moments.round_to_bfloat16(moment.astype(jnp.float32), count, arrays.namespace(jnp))
    return moment.astype(before.dtype)


def _arithmetic_dtype(array: Any) -> Any:
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"adam can only optimize arrays of real floating-point numbers. Received: dtype {dtype}")
    return jnp.float64 if dtype == jnp.float64 else jnp.float32


def _number(name: str, value: Any, below: float = float("inf")) -> Any:
    """A checked Python number, or the array that a caller's program (`optax.inject_hyperparams`) passes in."""
    return value if hasattr(value, "dtype") else rule.check_number(name, value, below=below)


def _decay(name: str, beta: Any) -> rule.Decay:
    beta = _number(name, beta, below=1)
    if isinstance(beta, float):
        return rule.Decay.of(beta)
    complement = 1 - beta  # exact for β >= 0.5; a float32 log of β would not be
    return rule.Decay(beta, complement, jnp.log1p(-complement))
