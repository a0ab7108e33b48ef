"""Gradients that have some rows of a variable only, and rows of variables, for steps of these rows alone.

TensorFlow's are `IndexedSlices`. PyTorch's and JAX's become `Rows`, whose parts have the same names.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from adamkit import rounding
from adamkit.keras.arithmetic import dtype_of
from adamkit.keras.internals import is_compiled_by_xla, own_value
from adamkit.variants import LAZY_REFUSED, check_lazy

_LINE = 64  # bytes that memory gives at once


class Rows(NamedTuple):
    """A sparse gradient, of rows that are all different."""

    values: Any  # (n, …)
    indices: Any  # (n,) whole numbers; on JAX from the table's size on they stand for none
    dense_shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """That of the numbers."""
        return self.values.dtype

    def __truediv__(self, number: Any) -> "Rows":
        """Unscaled, as Keras does it."""
        return self._replace(values=self.values / number)


def taken(gradient: Any) -> Any:
    """PyTorch's sparse gradient as `Rows`, where those of a row that is repeated are summed; any other as it is."""
    if not getattr(gradient, "is_sparse", False):
        return gradient
    if gradient.sparse_dim() > 1:
        return gradient.to_dense()
    gradient = gradient.coalesce()
    return Rows(gradient.values(), gradient.indices()[0], tuple(gradient.shape))


def widened(gradient: Any) -> Any:
    """A float16 or bfloat16 gradient as float32; any other as it is, but for PyTorch's sparse ones."""
    if gradient is None or dtype_of(gradient) not in rounding.NARROW:
        return taken(gradient)
    if is_sparse(gradient):
        return with_values(gradient, ops.cast(gradient.values, "float32"))
    return taken(ops.cast(gradient, "float32"))


def checked_lazy(lazy: Any, **others: Any) -> Any:
    """`lazy`, if it is True, False or "exact" and goes with the arguments that were given.

    Args:
        lazy: What the user gave.
        others: By the names of `LAZY_REFUSED` the argument in words, or None if it was not given.

    Raises:
        TypeError: It is none of the three.
        ValueError: It does not go with another argument.
    """
    check_lazy("lazy", lazy)
    for name, given in others.items():
        if lazy and given:
            raise ValueError(f"lazy={lazy!r} does not go with {given}: {LAZY_REFUSED[name]}. Received: both")
    return lazy


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient has some rows only."""
    return isinstance(gradient, Rows) or type(gradient).__name__ == "IndexedSlices"


def with_values(gradient: Any, values: Any) -> Any:
    """A sparse gradient with other numbers in its rows."""
    if isinstance(gradient, Rows):
        return gradient._replace(values=values)
    return type(gradient)(values, gradient.indices, gradient.dense_shape)


def dense(gradient: Any) -> Any:
    """A gradient with all rows."""
    if not is_sparse(gradient):
        return gradient
    if isinstance(gradient, Rows) and keras.backend.backend() == "jax":
        import jax.numpy as jnp

        return (
            jnp.zeros(gradient.dense_shape, gradient.values.dtype)
            .at[gradient.indices]
            .set(gradient.values, mode="drop")
        )
    if isinstance(gradient, Rows):
        import torch

        zeros = torch.zeros(gradient.dense_shape, dtype=gradient.dtype, device=gradient.values.device)
        return zeros.index_copy_(0, gradient.indices, gradient.values)
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def summed(gradient: Any) -> tuple[Any, Any]:
    """The rows that a gradient has, with the sum of all its values for each.

    In a program of XLA a row that is repeated stays repeated, with the sum at each place, so that shapes are known
    while it is compiled: the row is computed more than once, to the same numbers.

    Returns:
        (n,) whole numbers and (n, …).
    """
    if isinstance(gradient, Rows):
        return gradient.indices, gradient.values
    if is_compiled_by_xla():
        return _repeated_sums(gradient)[:2]
    return _sums(gradient)


def once(gradient: Any) -> Any:
    """A sparse gradient whose norm is the dense one's: where a row stays repeated, only one of its places is not 0."""
    if isinstance(gradient, Rows):
        return gradient
    import tensorflow as tf

    if not is_compiled_by_xla():
        rows, sums = _sums(gradient)
        return type(gradient)(sums, rows, gradient.dense_shape)
    rows, sums, is_new = _repeated_sums(gradient)
    is_new = tf.reshape(is_new, tf.concat([tf.shape(is_new), tf.ones(tf.rank(sums) - 1, tf.int32)], 0))
    return type(gradient)(tf.where(is_new, sums, 0), rows, gradient.dense_shape)


def _sums(gradient: Any) -> tuple[Any, Any]:
    """The rows of `IndexedSlices`, each once, and their sums."""
    import tensorflow as tf

    rows, place = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))


def _repeated_sums(gradient: Any) -> tuple[Any, Any, Any]:
    """The rows of `IndexedSlices`, sorted, as often as they are there; the sum of each; and which are new.

    XLA has `tf.unique`, too, but as a shape that it finds out is padded a step takes a third longer.
    """
    import tensorflow as tf

    order = tf.argsort(gradient.indices, stable=True)
    rows = tf.gather(gradient.indices, order)
    is_new = tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], 0)
    place = tf.cumsum(tf.cast(is_new, tf.int32)) - 1
    own = tf.gather(place, tf.math.invert_permutation(order))
    return rows, tf.gather(tf.math.unsorted_segment_sum(gradient.values, own, tf.size(rows)), place), is_new


def brought_near(rows: Any, variables: list) -> Any:
    """The rows as they are; on JAX's CPU once a number of each line of memory that variables have there was read.

    XLA's look-ups take element after element, so that no processor sees the next row before it has waited for the one
    at hand. These few numbers it awaits together, and then finds all others in its cache, in half the time.
    """
    if keras.backend.backend() != "jax":
        return rows
    import jax
    import jax.numpy as jnp

    def near(rows: Any, *tables: Any) -> Any:
        bits = jnp.zeros((), "int32")
        for table in tables:
            places = jnp.arange(0, table.shape[1], _LINE // table.dtype.itemsize)
            some = table.at[rows[:, None], places].get(mode="clip").astype("float32")
            bits = bits ^ jnp.max(jax.lax.bitcast_convert_type(some, "int32"), axis=1)
        return rows + (bits - jax.lax.optimization_barrier(bits))  # + 0, which XLA may not know

    tables = [variable.value for variable in variables if len(variable.shape) == 2 and variable.shape[1]]
    return jax.lax.platform_dependent(rows, *tables, cpu=near, default=lambda rows, *_: rows) if tables else rows


def rows_of(variable: Any, rows: Any) -> Any:
    """(n, …) these rows of a variable."""
    if keras.backend.backend() == "torch":
        return variable.value.detach().index_select(0, rows)
    if keras.backend.backend() == "jax":
        return variable.value.at[rows].get(mode="fill", fill_value=0)
    import tensorflow as tf

    return tf.gather(_native(variable), rows)


def set_rows(variable: Any, rows: Any, values: Any) -> None:
    """Give these rows of a variable, in place, values (n, …)."""
    if keras.backend.backend() == "torch":
        _set_rows_of_torch(variable, rows, values)
        return
    if keras.backend.backend() == "jax":
        variable.assign(variable.value.at[rows].set(ops.cast(values, variable.dtype), mode="drop"))
        return
    import tensorflow as tf

    native = _native(variable)
    native.scatter_update(tf.IndexedSlices(tf.cast(values, native.dtype), rows))


def _set_rows_of_torch(variable: Any, rows: Any, values: Any) -> None:
    import torch

    values, held = ops.cast(values, variable.dtype), variable.value
    with torch.no_grad():
        if held is own_value(variable):
            held.index_copy_(0, rows, values)
        else:  # in a `StatelessScope` the value is the caller's, which must stay as it is
            variable.assign(held.index_copy(0, rows, values))


def _native(variable: Any) -> Any:
    return own_value(variable) if hasattr(variable, "_value") else variable
