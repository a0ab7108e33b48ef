"""What the user gives as data, as NumPy arrays, or an error that says what it is and what is accepted."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from adamkit.lab.errors import InputError, reason

_ACCEPTED = "an array of numbers (rows, …), or a list, tuple or dictionary of them for several inputs or outputs"
_BATCHES = "of data that come batch by batch give all rows, as an array or a numpy.memmap; model.fit takes batches"
_HINTS = {  # by what a kind of value has
    "toarray": "its toarray() makes an array of it",
    "to_dense": "its to_dense() makes an array of it",
    "__next__": _BATCHES,
    "element_spec": _BATCHES,
    "__getitem__": _BATCHES,
    "__iter__": _BATCHES,
}


def as_arrays(name: str, values: Any) -> Any:
    """`values`, or each of several, as a NumPy array.

    Args:
        name: What the errors call it: `"x"`.
        values: An array of any library, a table of numbers, a list of numbers or of rows of them, or None; or a list,
            tuple or dictionary of such. Other floats than `floatx` become `floatx`, as in Keras.

    Returns:
        The same structure with arrays (rows, …) in it.

    Raises:
        TypeError: It is of a kind that is no array: its name is said.
        InputError: The array holds no numbers, or its rows differ in length.
    """
    if values is None:
        return None
    if isinstance(values, Mapping):
        return {key: as_arrays(f"{name}[{key!r}]", value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        if not _is_of_numbers(values):
            each = [as_arrays(f"{name}[{place}]", value) for place, value in enumerate(values)]
            return tuple(each) if isinstance(values, tuple) else each
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise InputError(f"{name} must have rows of one length. Received: a list; {reason(error)}") from error
    return _in_floatx(name, _array(name, values))


def type_of(values: Any) -> str:
    """Its type's name, as it is imported."""
    kind = type(values)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_of_numbers(values: Any) -> bool:
    """Whether it is a list of numbers, or of such lists."""
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
    return isinstance(values, (bool, int, float, np.generic))


def _array(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "to_numpy"):  # a table, or a column of one
        return np.asarray(values.to_numpy())
    is_array = hasattr(values, "__array__") or hasattr(values, "__array_interface__") or keras.ops.is_tensor(values)
    if isinstance(values, (str, bytes)) or not is_array:
        hints = "" if isinstance(values, (str, bytes)) else _hint(values)
        raise TypeError(f"{name} must be {_ACCEPTED}. Received: {type_of(values)}{hints}")
    return np.asarray(keras.ops.convert_to_numpy(values))


def _hint(values: Any) -> str:
    return next((f"; {hint}" for attribute, hint in _HINTS.items() if hasattr(values, attribute)), "")


def _in_floatx(name: str, values: np.ndarray) -> np.ndarray:
    is_float = "float" in values.dtype.name
    if values.ndim == 0 or not (is_float or values.dtype.kind in "biuc"):
        hint = "; adamkit.lab.data.Encoding makes numbers of a table's text and dates" * (values.ndim == 2)
        raise InputError(f"{name} must be {_ACCEPTED}. Received: dtype {values.dtype}, shape {values.shape}{hint}")
    return values.astype(keras.backend.floatx(), copy=False) if is_float else values
