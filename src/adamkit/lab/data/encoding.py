"""From what users have, columns and arrays of anything, to what a network takes: finite float32 features and labels."""

from collections import Counter
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from adamkit.lab.errors import InputError, listed

TargetKind = Literal["binary", "classes", "number"]
MOST_INTEGER_CLASSES = 20


class Features(NamedTuple):
    """What the network sees: x (rows, …) float32, or a table that is still to become that, and its columns' names."""

    x: Any
    names: tuple[str, ...] | None


class Target(NamedTuple):
    """What the network is to say: y (rows,), its kind, and the names of its classes unless it is a number."""

    y: NDArray
    kind: TargetKind
    class_names: tuple[str, ...] | None


def features(values: Any, source: str) -> Features:
    """The features in `values`.

    Numbers become float32 and booleans 0 or 1. An array (rows,) is one column. An array of uint8 with three or more
    axes is images: its values are divided by 255.

    Args:
        values: A pandas DataFrame, or anything that NumPy can make an array (rows, …) of.
        source: Where they are from, for error messages.

    Raises:
        InputError: There are no rows or no columns, or a value is no finite float32 number.
    """
    if hasattr(values, "columns"):
        return _features_of_table(values, source)
    array = _array(values, "x", source)
    if array.dtype.kind not in "biuf":
        raise InputError(f"x of {source} must be numbers or booleans. Received: dtype {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"x of {source} must have rows and features. Received: shape {array.shape}")
    if array.ndim == 1:
        array = array[:, None]
    x = _float32(array)
    if array.dtype == np.uint8 and array.ndim >= 3:
        x /= 255
    _check_finite(x, array, f"x of {source}")
    return Features(x, None)


def target(values: Any, source: str, kind: TargetKind | None = None) -> Target:
    """The labels in `values`, and their kind.

    Two different values, of whatever type, are "binary": y is float32 0 or 1, as `binary_crossentropy` takes it. Text,
    booleans, categories, and integers of at most 20 different values (each in two rows or more on average) are
    "classes": y is int32 0 … k - 1, as `sparse_categorical_crossentropy` takes it. Classes are in the order of their
    sorted values. All other numbers are a "number": y is float32.

    Args:
        values: A pandas Series, or anything that NumPy can make an array (rows,) or (rows, 1) of.
        source: Where they are from, for error messages, such as "column 'price' of houses.csv".
        kind: What they are to be instead, if they can.

    Raises:
        InputError: A value is missing or not finite, all are the same, or they are not what `kind` says.
    """
    series = _series(values, source)
    missing = series.isna().to_numpy(bool)
    if missing.any():
        raise InputError(f"{source}: {_some(missing)} missing; the first in row {missing.argmax() + 1}")
    labels, distinct = _codes(series, source)
    if len(distinct) == 1:
        raise InputError(f"{source} has the same value in every row, {distinct[0]}: there is nothing to learn")
    if kind is None:
        kind = _kind(series, distinct, source)
    if kind == "number":
        if not (is_number(series) or is_boolean(series)):
            raise InputError(f"{source} must be numbers. Received: text such as {distinct[0]!r}")
        given = series.to_numpy()
        y = _float32(given)
        _check_finite(y, given, source)
        return Target(y, kind, None)
    if kind == "binary" and len(distinct) != 2:
        raise InputError(f"{source} must have two different values to be binary. Received: {listed(distinct)}")
    if kind not in get_args(TargetKind):
        raise InputError(f"the kind of target must be one of {listed(get_args(TargetKind))}. Received: {kind!r}")
    return Target(labels.astype(np.float32 if kind == "binary" else np.int32), kind, distinct)


def _kind(series: Any, distinct: tuple[str, ...], source: str) -> TargetKind:
    k, rows = len(distinct), len(series)
    if k == 2:
        return "binary"
    if is_number(series):
        few = k <= MOST_INTEGER_CLASSES and rows >= 2 * k
        return "classes" if few and series.dtype.kind in "iu" else "number"
    if rows < 2 * k:
        raise InputError(
            f"{source} has text with {k} different values in {rows} rows, such as {distinct[0]!r}: "
            "a class needs two rows or more, and a number must not hold other characters"
        )
    return "classes"


def table(values: Any, source: str) -> Features:
    """The features in the pandas DataFrame `values` as they stand; InputError without rows or columns."""
    if not len(values):
        raise InputError(f"{source} has no rows")
    if not len(values.columns):
        raise InputError(f"{source} has no feature columns: it needs at least one besides the target")
    return Features(values, check_columns(values.columns, source))


def _features_of_table(values: Any, source: str) -> Features:
    _, names = table(values, source)
    assert names
    x = np.empty((len(values), len(names)), np.float32)
    for position, name in enumerate(names):
        column, where = plain(values.iloc[:, position]), f"column {name!r} of {source}"
        if not (is_boolean(column) or is_number(column)):
            raise InputError(not_numeric(column, where))
        given = column.to_numpy(np.float64, na_value=np.nan)
        x[:, position] = _float32(given)
        _check_finite(x[:, position], given, where)
    return Features(x, names)


def check_columns(columns: Any, source: str) -> tuple[str, ...]:
    """The names of `columns`; InputError if one is there twice."""
    names = tuple(str(name) for name in columns)
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise InputError(f"{source} has more than one column named {listed(map(repr, twice))}: names must differ")
    return names


def _array(values: Any, name: str, source: str) -> NDArray:
    try:
        array = np.asarray(values)
    except Exception as error:  # rows of different lengths, a tensor on a GPU: whatever NumPy makes of it
        raise InputError(f"{name} of {source} cannot be made into one array: {error}") from error
    if array.dtype.kind == "V" and array.dtype.name.startswith(("bfloat", "float")):
        array = array.astype(np.float32)  # an extension type
    return array


def _series(values: Any, source: str) -> Any:
    import pandas as pd

    if isinstance(values, pd.DataFrame) and values.shape[1] == 1:
        values = values.iloc[:, 0]
    if isinstance(values, pd.Series):
        series = values
    else:
        array = _array(values, "y", source)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            hint = "; labels that are one-hot become so with y.argmax(axis=1)" if array.ndim == 2 else ""
            raise InputError(f"{source} must have one value a row. Received: shape {array.shape}{hint}")
        if array.dtype.kind not in "biufUO":
            raise InputError(f"{source} must be numbers, booleans or text. Received: dtype {array.dtype}")
        series = pd.Series(array)
    if not len(series):
        raise InputError(f"{source} has no rows")
    return plain(series)


def plain(series: Any) -> Any:
    """`series` with numbers in place of Python objects, where it can, in this machine's order of bytes."""
    import pandas as pd

    if isinstance(series.dtype, np.dtype) and not series.dtype.isnative:  # pandas counts none of another byte order
        return series.astype(series.dtype.newbyteorder("="))
    if series.dtype != object:
        return series
    return series.astype(float) if pd.api.types.infer_dtype(series) == "decimal" else series.infer_objects()


def not_numeric(column: Any, source: str) -> str:
    """What to say of a column that is to be numbers and holds something else."""
    import pandas as pd

    missing = column.isna().to_numpy(bool)
    if missing.all():
        return f"{source}: {_some(missing)} missing; leave the column out"
    numbers: Any = pd.to_numeric(column.astype(str), errors="coerce")
    odd = ~missing & numbers.isna().to_numpy(bool)  # such as the "?" in a column of numbers
    row = int((odd if odd.any() else ~missing).argmax())
    value = " ".join(str(column.iloc[row]).split())
    shown = value if len(value) <= 40 else f"{value[:39]}…"
    return f"{source} is not numeric ({shown!r} in row {row + 1}): encode it as numbers first, or leave it out"


def _codes(series: Any, source: str) -> tuple[NDArray, tuple[str, ...]]:
    """(rows,) the position of each value among the sorted different ones, and these as text."""
    import pandas as pd

    inferred = pd.api.types.infer_dtype(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.cat.remove_unused_categories()
        return series.cat.codes.to_numpy(), tuple(map(str, series.cat.categories))
    if not (inferred == "string" or is_number(series) or is_boolean(series)):
        raise InputError(f"{source} must be numbers, booleans or text. Received: {inferred}")
    codes, distinct = pd.factorize(series, sort=True)
    return codes, tuple(label(value) for value in distinct)


def label(value: Any) -> str:
    """1.0 reads as 1, since a label is a name."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def is_number(series: Any) -> bool:
    """Whether its type is that of real numbers."""
    return series.dtype.kind in "iuf"


def is_boolean(series: Any) -> bool:
    """Whether its type is that of truth values."""
    return series.dtype.kind == "b"


def _float32(given: NDArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes inf, and `_check_finite` says so
        return np.array(given, np.float32)


def check_fits_float32(values: NDArray[np.float64], source: str, *, or_missing: bool = False) -> None:
    """InputError where a value is infinite or too large for float32, or, with `or_missing`, is missing."""
    wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
    if not or_missing:
        wrong &= ~np.isnan(values)
    if wrong.any():
        row = int(wrong.argmax())
        what = "missing, infinite" if or_missing else "infinite"
        raise InputError(
            f"{source}: {_some(wrong)} {what} or too large for float32; the first is {values[row]} in row {row + 1}"
        )


def _check_finite(values: NDArray, given: NDArray, source: str) -> None:
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    first = np.unravel_index(wrong.argmax(), wrong.shape)
    place = f"row {first[0] + 1}"
    if values.shape[1:] not in ((), (1,)):
        place = f"{place}, at [{', '.join(map(str, first))}]"
    raise InputError(
        f"{source}: {_some(wrong)} missing, infinite or too large for float32; the first is {given[first]} in {place}"
    )


def _some(which: NDArray) -> str:
    """How many are so, of how many: "1 of 9 values is"."""
    return f"{which.sum()} of {which.size} values {'is' if which.sum() == 1 else 'are'}"
