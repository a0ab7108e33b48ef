"""Sparse gradients of `Embedding` layers on JAX, which `lazy` needs.

JAX differentiates with respect to arrays and gives arrays. So while a model with a lazy optimizer trains, a step is
given a `Table` in the place of each table's array, which has an array of zeros for each look-up of it. The derivative
with respect to these, which `_look_up` defines, is what the look-up's gradient is and which rows it is of.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from keras import ops

from adamkit.keras.internals import without_scaler
from adamkit.keras.lookups import looking_up
from adamkit.keras.sparse import Rows

_HALF = 4096  # a row is carried as two float32, each of which is exact: the derivative of a float is a float


class Lookup(NamedTuple):
    """Zeros, and as their derivative the gradient of one look-up."""

    values: Any  # (…, width) in the table's dtype
    rows: Any  # (2, …) float32: whole halves and the rest


class Table(NamedTuple):
    """A variable of the model in a step that is to have its gradient in rows; as the gradient, what JAX makes of it."""

    array: Any  # (rows, width), for whatever is no look-up
    lookups: tuple[Lookup, ...]


@functools.cache
def let_training_be_sparse() -> None:
    """Have the steps of `keras.Model` give lazy optimizers sparse gradients; once."""
    for name, made in (("train_step", _stepping), ("compute_loss_and_updates", _computing)):
        setattr(keras.Model, name, made(getattr(keras.Model, name)))


def in_rows(gradients: list, variables: list) -> tuple[list, list]:
    """The gradients with respect to each `Table` as `Rows`, and the variables' arrays."""
    return (
        [_gradient_in_rows(one) if isinstance(one, Table) else one for one in gradients],
        [one.array if isinstance(one, Table) else one for one in variables],
    )


def _gradient_in_rows(derivative: Table) -> Rows:
    """The gradient with respect to a `Table`, each row once; the places of those that were repeated have no row."""
    shape = derivative.array.shape
    values = jnp.concatenate([one.values.reshape(-1, shape[1]) for one in derivative.lookups])
    rows = jnp.concatenate([one.rows.reshape(2, -1) for one in derivative.lookups], axis=1).astype("int32")
    rows = rows[0] * _HALF + rows[1]
    rows = jnp.where(rows < 0, rows + shape[0], rows)  # as `jnp.take` counts; what lies outside has no gradient
    rows = jnp.where(rows < 0, shape[0], rows)
    rows, places = jnp.unique(rows, size=len(rows), fill_value=shape[0], return_inverse=True)
    values = values.astype(jnp.promote_types(values.dtype, "float32"))  # before they are summed
    return Rows(jax.ops.segment_sum(values, places, len(rows)), rows, shape)


class LookUps:
    """What the look-ups of one pass through a model take.

    Args:
        arrays: Of tables, by the ids of their variables.
        given: The zeros for each look-up of each table; None: they are made here, and `seen` has their shapes.
    """

    def __init__(self, arrays: dict[int, Any], given: dict[int, Iterator[Lookup]] | None = None):
        self._arrays, self._given = arrays, given
        self.seen: list[tuple[int, Lookup]] = []

    def __call__(self, table: keras.Variable, inputs: Any) -> Any:
        """The rows of a table; None where it is none of these."""
        array = self._arrays.get(id(table))
        if array is None:
            return None
        rows: Any = ops.cast(inputs, "int32")
        if self._given is not None:
            return _look_up(array, rows, next(self._given[id(table)]))
        shapes = Lookup(
            jax.ShapeDtypeStruct((*rows.shape, array.shape[1]), array.dtype),
            jax.ShapeDtypeStruct((2, *rows.shape), "float32"),
        )
        self.seen.append((id(table), shapes))
        return _look_up(array, rows, _zeros(shapes))


@jax.custom_vjp
def _rows(array: Any, rows: Any, zeros: Lookup) -> Any:
    return jnp.take(array, rows, axis=0)


def _forward(array: Any, rows: Any, zeros: Lookup) -> tuple[Any, Any]:
    return jnp.take(array, rows, axis=0), rows


def _backward(rows: Any, derivative: Any) -> tuple[None, None, Lookup]:
    halves = jnp.stack([rows // _HALF, rows % _HALF]).astype("float32")
    return None, None, Lookup(derivative, halves)


_rows.defvjp(_forward, _backward)


def rows_of_a_table(array: Any, rows: Any, zeros: Lookup) -> Any:
    """`array[rows]`, whose gradient and rows are the derivative with respect to the zeros."""
    return _rows(array, rows, zeros)


_look_up: Any = jax.jit(rows_of_a_table)  # so that a program says where it is, by name


def _stepping(original: Callable) -> Callable:
    @functools.wraps(original)
    def train_step(model: Any, state: Any, data: Any) -> Any:
        if not getattr(without_scaler(model.optimizer), "lazy", False):
            return original(model, state, data)
        if without_scaler(model.optimizer) is not model.optimizer:
            lazy = without_scaler(model.optimizer).lazy
            raise ValueError(f"lazy={lazy!r} does not go with LossScaleOptimizer on JAX. Received: both")
        return original(model, (_with_tables(model, state, data), *state[1:]), data)

    return train_step


def _computing(original: Callable) -> Callable:
    @functools.wraps(original)
    def compute_loss_and_updates(model: Any, trainable_variables: list, *args: Any, **kwargs: Any) -> Any:
        tables = {
            id(variable): one
            for variable, one in zip(model.trainable_variables, trainable_variables, strict=False)
            if isinstance(one, Table)
        }
        if not tables:
            return original(model, trainable_variables, *args, **kwargs)
        arrays = {place: jax.lax.stop_gradient(table.array) for place, table in tables.items()}
        look_up = LookUps(arrays, {place: iter(table.lookups) for place, table in tables.items()})
        values = [one.array if isinstance(one, Table) else one for one in trainable_variables]
        with looking_up(look_up):
            return original(model, values, *args, **kwargs)

    return compute_loss_and_updates


def _with_tables(model: Any, state: Any, data: Any) -> list:
    """The trainable variables with a `Table` for each that look-ups alone reach.

    A trace of the loss says which those are: a table's array is used nowhere else in it, and each look-up stands in the
    trace itself, as often and in the shape in which it was called, rather than in a loop, a branch or a map.
    """
    variables, non_trainable, optimizer, metrics = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    places = [id(variable) for variable in model.trainable_variables]
    look_up = LookUps(dict(zip(places, variables, strict=True)))

    def loss(values):
        with looking_up(look_up):
            return model.compute_loss_and_updates(
                values, non_trainable, metrics, x, y, sample_weight, training=True, optimizer_variables=optimizer
            )

    program = jax.make_jaxpr(loss)(list(variables)).jaxpr
    found = [eqn.outvars[0].aval.shape for eqn in program.eqns if eqn.params.get("name") == rows_of_a_table.__name__]
    if sorted(found) != sorted(shapes.values.shape for _, shapes in look_up.seen):
        return variables
    used = {id(variable) for eqn in program.eqns for variable in eqn.invars} | {id(one) for one in program.outvars}
    made = []
    for place, value, variable in zip(places, variables, program.invars, strict=True):
        lookups = tuple(_zeros(shapes) for own, shapes in look_up.seen if own == place)
        made.append(Table(value, lookups) if lookups and id(variable) not in used else value)
    return made


def _zeros(shapes: Lookup) -> Lookup:
    return Lookup(*(jnp.zeros(part.shape, part.dtype) for part in shapes))
