"""The history of a chunk as a file that tells whether it is as it was written. Needs no framework.

A seal is beside the rows: of which sweep and which chunk they are, how many runs a chunk has, and SHA-256 of the rows
and of the file with the runs' state.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab import disk
from adamkit.lab.errors import InputError, reason

_KEY = b"adamkit"  # in the file's metadata
_VERSION = 1
_NAME = re.compile(r"[0-9]+(-[0-9]+){3}")


@dataclass(frozen=True)
class Seal:
    """What a chunk's history was, when it was written.

    Attributes:
        sweep: The fingerprint of the sweep.
        chunk: Its name, which is the file's.
        size: Runs in a full chunk of its program.
        state: SHA-256 of the file with the state, in hexadecimal.
    """

    sweep: str
    chunk: str
    size: int
    state: str


def parts_in_order(folder: Path) -> list[Path]:
    """The histories of the chunks of a sweep that are finished."""
    found = [path for path in folder.glob("[0-9]*.parquet") if _NAME.fullmatch(path.stem)]
    return sorted(found, key=lambda path: [int(number) for number in path.stem.split("-")])


def write(path: Path, history: pd.DataFrame, seal: Seal) -> None:
    """Write a chunk's history, whole or not at all."""
    disk.replace(path, lambda temporary: _write(temporary, history, asdict(seal)))


def write_rows(path: Path, history: pd.DataFrame) -> None:
    """Write a table with a checksum of its rows, if all of them are numbers."""
    if all(dtype.kind in "biuf" for dtype in history.dtypes):
        _write(path, history, {})
    else:  # text and mixed columns, which Parquet may give back as another type
        history.to_parquet(path, index=False)


def read_rows(path: Path) -> pd.DataFrame:
    """What `write_rows` wrote, or a table without a checksum; ValueError where a checksum is another."""
    import pyarrow.parquet

    with path.open("rb") as file:
        table = pyarrow.parquet.read_table(file)
    history: pd.DataFrame = table.to_pandas()
    sealed = (table.schema.metadata or {}).get(_KEY)
    if sealed is not None and json.loads(sealed)["rows"] != _digest(history):
        raise ValueError("its checksum is another")
    return history


def read(path: Path) -> tuple[pd.DataFrame, Seal]:
    """A chunk's history and its seal; InputError, in the words "FILE is …", where it is not as it was written."""
    import pyarrow.parquet

    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is no file of its own")
    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.read_table(file)
        sealed = json.loads((table.schema.metadata or {})[_KEY])
        history: pd.DataFrame = table.to_pandas()
        seal = Seal(**{field.name: sealed[field.name] for field in fields(Seal)})
        is_whole = sealed["version"] == _VERSION and sealed["rows"] == _digest(history)
    except KeyError as error:
        raise InputError(f"{path} is without a checksum") from error
    except Exception as error:  # pyarrow, pandas and json have errors of their own for whatever stands there
        raise InputError(f"{path} is damaged: {reason(error)}") from error
    if not is_whole:
        raise InputError(f"{path} is not as it was written: its checksum differs")
    if seal.chunk != path.stem:
        raise InputError(f"{path} is a copy of {seal.chunk}{path.suffix}")
    return history, seal


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, history: pd.DataFrame, seal: dict[str, Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(history, preserve_index=False)
    sealed = json.dumps({"version": _VERSION, "rows": _digest(history), **seal})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: sealed.encode()})
    pyarrow.parquet.write_table(table, path)


def _digest(history: pd.DataFrame) -> str:
    """SHA-256 of names, types and values."""
    digest = hashlib.sha256()
    columns: Iterable[tuple[Any, pd.Series]] = history.items()
    for name, values in columns:
        digest.update(f"{name} {values.dtype.str} {len(values)}\0".encode())  # pyright: ignore[reportAttributeAccessIssue]
        array = np.ascontiguousarray(values.to_numpy())
        if array.dtype.kind == "f":  # what diverges is often a negative NaN, which Parquet gives back as a positive one
            array = np.where(np.isnan(array), np.nan, array)
        digest.update(array.tobytes())
    return digest.hexdigest()
