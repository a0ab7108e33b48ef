"""Rows of a variable, for steps of those that a sparse gradient has: TensorFlow's `IndexedSlices`."""

from typing import Any

from adamkit.keras.internals import own_value


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient is an `IndexedSlices`."""
    return type(gradient).__name__ == "IndexedSlices"


def summed(gradient: Any) -> tuple[Any, Any]:
    """The rows that a gradient has, sorted, with the sum of all its values for that row at each place.

    A row that is repeated stays repeated, so that shapes are known while a program is compiled: it is computed more
    than once, to the same numbers.

    Returns:
        (n,) whole numbers and (n, …).
    """
    import tensorflow as tf

    order = tf.argsort(gradient.indices, stable=True)
    rows, values = tf.gather(gradient.indices, order), tf.gather(gradient.values, order)
    is_new = tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], 0)
    place = tf.cumsum(tf.cast(is_new, tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(values, place, tf.shape(rows)[0])
    return rows, tf.gather(sums, place)


def rows_of(variable: Any, rows: Any) -> Any:
    """(n, …) these rows of a variable."""
    import tensorflow as tf

    return tf.gather(_native(variable), rows)


def set_rows(variable: Any, rows: Any, values: Any) -> None:
    """Give these rows of a variable, in place, values (n, …)."""
    import tensorflow as tf

    native = _native(variable)
    native.scatter_update(tf.IndexedSlices(tf.cast(values, native.dtype), rows))


def _native(variable: Any) -> Any:
    return own_value(variable) if hasattr(variable, "_value") else variable
