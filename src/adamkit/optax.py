"""Adam for JAX, as a gradient transformation for optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from adamkit import rule

__all__ = ["adam"]

_MOMENT_DTYPES = ("float32",)


def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    *,
    moment_dtype: str = "float32",
) -> optax.GradientTransformation:
    """Adam: Kingma and Ba 2015 (arXiv:1412.6980), Algorithm 1, with the argument names of `optax.adam`.

    It differs from `optax.adam` in its numbers: arithmetic and moments are float32 (float64 for float64 parameters)
    also where parameters and gradients are bfloat16 or float16, and bias correction loses no digits. The updates have
    the dtype of the arithmetic, so that `optax.apply_updates` rounds a narrow parameter only once.

    Args:
        learning_rate: η >= 0, or a schedule: a function of the number of steps done.
        b1: 0 <= β₁ < 1, the decay rate of the first moment.
        b2: 0 <= β₂ < 1, the decay rate of the second moment.
        eps: ε >= 0, added to the root of the bias-corrected second moment.
        moment_dtype: How the moments are stored: "float32" (float64 for float64 parameters).

    Returns:
        A transformation whose state is an `optax.ScaleByAdamState`: `count`, `mu` (the first moment) and `nu` (the
        second).

    Raises:
        TypeError: An argument has the wrong type, or a parameter is not real floating point.
        ValueError: A number is out of range.

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
    if moment_dtype not in _MOMENT_DTYPES:
        accepted = " or ".join(map(repr, _MOMENT_DTYPES))
        raise ValueError(f"moment_dtype must be {accepted}. Received: moment_dtype={moment_dtype!r}")

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        def zeros() -> Any:  # an array for each moment, so that a compiled step can be given both to write into
            return jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), _arithmetic_dtype(x)), params)

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
        steps = [
            _step(gradient, m, v, k)
            for gradient, m, v in zip(gradients, jax.tree.leaves(state.mu), jax.tree.leaves(state.nu), strict=True)
        ]
        changes, mu, nu = (structure.unflatten([step[i] for step in steps]) for i in range(3))
        return changes, optax.ScaleByAdamState(count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _step(gradient: Any, m: jax.Array, v: jax.Array, k: rule.Coefficients) -> tuple[jax.Array, ...]:
    """The change of a parameter, and its new moments."""
    k = jax.tree.map(lambda x: x.astype(m.dtype) if isinstance(x, jax.Array) else x, k)
    new = rule.update(jnp.zeros_like(m), jnp.asarray(gradient, m.dtype), m, v, None, k, xp=jnp)
    return new.parameter, new.first_moment, new.second_moment


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
