"""Features and targets from `.npz`, `.csv` and `.parquet` files, as they stand there."""

import contextlib
import errno
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamkit.lab import machine
from adamkit.lab.data.encoding import check_columns
from adamkit.lab.errors import InputError, listed, nearest, reason


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        x: (rows, …) array, or a pandas DataFrame of all columns but the target.
        y: (rows,) or (rows, 1) array, or a pandas Series.
        target: What the file calls y, for messages: "column 'price' of houses.csv".
    """

    x: Any
    y: Any
    target: str


def read(path: Path, target: str | None = None) -> Contents:
    """The features and the target in a file.

    Args:
        path: A `.csv` file (UTF-8, commas, one line of column names), a `.parquet` file, or a `.npz` file without
            pickled objects.
        target: The target's column, which a table needs, or the target's array, which an `.npz` file needs unless it
            has arrays named x and y, or two arrays of which one has a single column.

    Raises:
        InputError: There is no such file, column or array, or the file is not what its name says.
        OSError: It cannot be read.
    """
    check_file(path, ENDINGS)
    return ENDINGS[path.suffix.lower()](path, target)


def read_features(path: Path, text: Collection[str] = ()) -> Any:
    """The rows in a file without a target, to predict it: a pandas DataFrame, or an array (rows, …).

    Args:
        path: A file as `read` takes it. Of an `.npz` file it is the array x, or the only one.
        text: The columns of a `.csv` file that are text even where it looks like numbers.

    Raises:
        InputError: There is no such file or array, or the file is not what its name says.
        OSError: It cannot be read.
    """
    check_file(path, ENDINGS)
    if path.suffix.lower() == ".npz":
        shapes = _npz_shapes(path)
        if "x" not in shapes and len(shapes) != 1:
            raise InputError(f"{path} must have an array x, or one array alone. It has: {_described(shapes)}")
        return _npz_arrays(path, "x" if "x" in shapes else next(iter(shapes)))[0]
    return _csv_table(path, text) if path.suffix.lower() == ".csv" else _parquet_table(path)


def check_file(path: Path, endings: Any) -> None:
    """InputError unless `path` is a file with one of `endings`, such as ".csv", and is not empty."""
    if path.is_dir():
        raise InputError(f"{path} is a directory; accepted is a file that ends in {listed(endings)}")
    if not path.exists():
        there = [p.name for p in path.parent.iterdir() if p.suffix in endings] if path.parent.is_dir() else []
        raise InputError(f"there is no file {path}.{nearest(path.name, there)}")
    if path.suffix.lower() not in endings:
        raise InputError(f"{path} has an ending that is not known; accepted is a file that ends in {listed(endings)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def _read_csv(path: Path, target: str | None) -> Contents:
    return _from_table(path, _csv_table(path), target)


def _csv_table(path: Path, text: Collection[str] = ()) -> Any:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
            # Without index_col=False, longer rows would make the first column an index.
            types = {name: str for name in header.iloc[0] if name in text}
            table = pd.read_csv(path, index_col=False, low_memory=False, dtype=types)
    except (ValueError, pd.errors.ParserWarning) as error:  # ParserError, EmptyDataError, UnicodeDecodeError
        raise InputError(f"{path} is no table of comma-separated values: {_message(error)}") from error
    names = [str(name) for name in header.iloc[0]]
    check_columns(names, str(path))  # pandas renames the second of two equal names
    if "" in names:
        position = names.index("") + 1
        raise InputError(f"{path}: column {position} has no name; is it an index? Leave it out, or give it a name")
    if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
        raise InputError(f"{path} has the one column {names[0]!r}: values must be separated by commas")
    return table


def _read_parquet(path: Path, target: str | None) -> Contents:
    return _from_table(path, _parquet_table(path), target)


def _parquet_table(path: Path) -> Any:
    import pandas as pd
    import pyarrow.parquet

    try:
        with path.open("rb") as file:  # a file, since a path such as year=2020/a.parquet would gain a column
            check_columns(pyarrow.parquet.read_schema(file).names, str(path))
            return pd.read_parquet(file)
    except MemoryError:
        raise
    except Exception as error:  # pyarrow's own, and whatever pandas' metadata in it leads to
        if isinstance(error, InputError) or _is_of_the_machine(error):
            raise
        raise InputError(f"{path} is no readable Parquet file: {_message(error)}") from error


def _from_table(path: Path, table: Any, target: str | None) -> Contents:
    names = [str(name) for name in table.columns]
    if target is None:
        raise InputError(f"{path}: which column is the target? Name one (--target): {listed(names)}")
    if target not in names:
        raise InputError(f"{path} has no column {target!r}.{nearest(target, names)} Its columns: {listed(names)}")
    position = names.index(target)
    x = table.iloc[:, [i for i in range(len(names)) if i != position]]
    return Contents(x, table.iloc[:, position], f"column {target!r} of {path}")


def _read_npz(path: Path, target: str | None) -> Contents:
    names = _which_arrays(path, _npz_shapes(path), target)
    x, y = _npz_arrays(path, *names)
    return Contents(x, y, f"array {names[1]!r} of {path}")


Shapes = dict[str, tuple[int, ...]]  # of the arrays in a file, by name


def _npz_shapes(path: Path) -> Shapes:
    """What arrays the file has; nothing but their headers is unpacked."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .npz file, as numpy.savez writes it")
    shapes: Shapes = {}
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version in _HEADERS:
                    shapes[member.removesuffix(".npy")] = _HEADERS[version](file)[0]
    return shapes


_HEADERS: dict[tuple[int, int], Callable] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _npz_arrays(path: Path, *names: str) -> list[NDArray]:
    """Some arrays of the file."""
    check_unpacked(path, [f"{name}.npy" for name in names])
    with _damage_named(path), np.load(path, allow_pickle=False) as file:
        return [file[name] for name in names]


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """What reading a damaged file raises becomes an InputError."""
    try:
        yield
    except (MemoryError, InputError):
        raise
    except Exception as error:  # zipfile and zlib have errors of their own for damaged files
        if _is_of_the_machine(error):
            raise
        if "allow_pickle" in str(error):
            raise InputError(f"{path} holds Python objects, which are not read: save arrays of numbers") from error
        raise InputError(f"{path} is a damaged .npz file: {_message(error)}") from error


def _is_of_the_machine(error: Exception) -> bool:
    """Whether the disk failed or the file must not be read, rather than that what stands in it is wrong."""
    # pyarrow's OSErrors for damage have no number, and a place that a damaged file names may lie before its beginning.
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def check_unpacked(path: Path, members: Collection[str] | None = None) -> None:
    """InputError where what is packed in a zip file does not fit into memory, before it is unpacked.

    Args:
        path: The file.
        members: Its members that are to be unpacked; None: all.
    """
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist() if members is None or info.filename in members)
    if size > (free := machine.free_memory()):
        raise InputError(f"{path} must fit into memory, {free:,} bytes. Received: {size:,} bytes, unpacked")


def _which_arrays(path: Path, arrays: Shapes, target: str | None) -> tuple[str, str]:
    """The names of the features' and of the target's array."""
    shapes = _described(arrays)
    if target is None:
        if "x" in arrays and "y" in arrays:
            return "x", "y"
        columns = [name for name, shape in arrays.items() if shape[1:] in ((), (1,))]
        if len(arrays) != 2 or len(columns) != 1:
            raise InputError(f"{path}: which array is the target? Name one (--target): {shapes}")
        target = columns[0]
    if target not in arrays:
        raise InputError(f"{path} has no array {target!r}.{nearest(target, arrays)} Its arrays: {shapes}")
    others = [name for name in arrays if name != target]
    if "x" in others or len(others) == 1:
        return "x" if "x" in others else others[0], target
    others = [name for name in others if arrays[name][:1] == arrays[target][:1] != ()]
    if len(others) != 1:
        raise InputError(f"{path}: besides the target {target!r} it must have one array of features. It has: {shapes}")
    return others[0], target


def _described(arrays: Shapes) -> str:
    return listed(f"{name} {shape}" for name, shape in arrays.items()) or "none"


def _message(error: BaseException) -> str:
    return reason(error).partition(": ")[2] or type(error).__name__


ENDINGS: dict[str, Callable[[Path, str | None], Contents]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
