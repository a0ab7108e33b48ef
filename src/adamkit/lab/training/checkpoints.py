"""The state of a training run on disk: all that its next epoch needs, in a file that cannot run code when it is read.

A checkpoint is a safetensors file (huggingface.co/docs/safetensors), with what is no array as JSON in its header: the
variables of the model and of its optimizer in their own formats, among them moments, what rounding keeps, the state of
layers and of random seeds; the history; and a hash of the state after each epoch. The order of the rows is a function
of seed and epoch, so that nothing is kept of it. A checksum of all that is checked when it is read.
"""

import hashlib
import json
import math
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from adamkit.keras.internals import flat_layers
from adamkit.lab import disk
from adamkit.lab.errors import InputError, reason

VERSION = 1
_NAME = re.compile(r"epoch-(\d{1,9})\.safetensors")
_NARROW = re.compile(r"bfloat16|float8_\w+")
_HEADER = "adamkit"  # what is no array, as JSON
_PLAIN = frozenset(
    [
        "bool",
        *(f"{kind}{8 * size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)),
        "float16",
        "float32",
        "float64",
    ]
)


@dataclass(frozen=True)
class Checkpoint:
    """A run after some epoch.

    Attributes:
        epoch: How many epochs are done, >= 0.
        variables: Their values: those of the model that are trained, those that are not, the optimizer's.
        names: Of the variables, to show: `trainable dense/kernel`.
        columns: Of the history, after `epoch`.
        history: (epochs, columns) float64.
        states: (epochs, variables, 8) uint8, the first bytes of the SHA-256 of each variable after each epoch.
        chain: (epochs, 32) uint8, the SHA-256 of the state after each epoch and of what stands in the row before.
        identity: What must be the same for the run to go on: of the data a hash, and what says in which order they go.
    """

    epoch: int
    variables: list[np.ndarray]
    names: list[str]
    columns: list[str]
    history: np.ndarray
    states: np.ndarray
    chain: np.ndarray
    identity: Mapping[str, Any]

    def rows(self) -> list[dict[str, float]]:
        """The history as the rows of a `TrainResult`."""
        return [
            {"epoch": number, **dict(zip(self.columns, map(float, row), strict=True))}
            for number, row in enumerate(self.history, start=1)
        ]

    def write(self, folder: Path) -> Path:
        """Write it into a folder of checkpoints: on the disk, whole or not at all. OSError where that cannot be."""
        from safetensors.numpy import save_file

        arrays = {"history": self.history, "states": self.states, "chain": self.chain}
        arrays |= {f"variables/{number}": array for number, array in enumerate(self.variables)}
        header = {
            "version": VERSION,
            "epoch": self.epoch,
            "names": self.names,
            "columns": self.columns,
            "identity": dict(self.identity),
            "dtypes": {name: array.dtype.name for name, array in arrays.items() if array.dtype.name not in _PLAIN},
        }
        header["checksum"] = _checksum(header, arrays)
        path = folder / f"epoch-{self.epoch:06d}.safetensors"
        plain = {name: _plain(array) for name, array in arrays.items()}

        def save(temporary: Path) -> None:
            try:
                save_file(plain, temporary, {_HEADER: json.dumps(header)})
            except Exception as error:  # safetensors has an error of its own for a full disk
                raise error if isinstance(error, OSError) else OSError(f"{path.name}: {reason(error)}") from error

        folder.mkdir(exist_ok=True)
        disk.replace(path, save, durable=True)
        return path


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file; InputError where it is damaged, or of another version or place."""
    from safetensors import safe_open

    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            if header["version"] != VERSION:
                raise InputError(f"{path} must be of version {VERSION}. Received: version {header['version']!r}")
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        arrays = {name: _typed(array, header["dtypes"].get(name)) for name, array in stored.items()}
        if header.pop("checksum") != _checksum(header, arrays):
            raise ValueError("its checksum is another")
        checkpoint = Checkpoint(
            header["epoch"],
            [arrays[f"variables/{number}"] for number in range(len(header["names"]))],
            header["names"],
            header["columns"],
            arrays["history"],
            arrays["states"],
            arrays["chain"],
            header["identity"],
        )
        if epoch_of(path) not in (None, checkpoint.epoch):
            raise ValueError(f"it is of epoch {checkpoint.epoch}")
    except InputError:
        raise
    except Exception as error:  # safetensors has errors of its own
        raise InputError(f"{path} is no readable checkpoint: {reason(error)}") from error
    return checkpoint


def epoch_of(path: Path) -> int | None:
    """The epoch that the name of a checkpoint says; None where it is none."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else None


def files(folder: Path) -> list[Path]:
    """The checkpoints in a folder of them, the latest first; what else is there, and links, are left out."""
    try:
        found = [path for path in folder.iterdir() if epoch_of(path) and stat.S_ISREG(path.lstat().st_mode)]
    except OSError:
        return []
    return sorted(found, key=lambda path: -(epoch_of(path) or 0))


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The latest that can be read, and a line for each later one that cannot."""
    complaints = []
    for path in files(folder):
        try:
            return read(path), complaints
        except InputError as error:
            complaints.append(str(error))
    return None, complaints


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """All variables that an epoch may change, of a model that is compiled and built."""
    return [variable for group in _groups(model).values() for variable in group]


def names_of(model: keras.Model) -> list[str]:
    """What kind each of them is, and where: `trainable dense/kernel`."""
    layers = {id(variable): layer.name for layer in flat_layers(model) for variable in layer.variables}  # the innermost

    def where(variable: keras.Variable) -> str:
        layer = layers.get(id(variable))
        return variable.path if layer is None or layer in variable.path.split("/") else f"{layer}/{variable.path}"

    return [f"{kind} {where(variable)}" for kind, group in _groups(model).items() for variable in group]


def restore(checkpoint: Checkpoint, model: keras.Model) -> None:
    """Give a compiled, built model and its optimizer the state of a checkpoint; InputError where it does not fit."""
    variables = variables_of(model)
    ours = [(tuple(v.shape), keras.backend.standardize_dtype(v.dtype)) for v in variables]
    arrays = [
        # Scales of int8 moments have the axes of a variable that is sharded, else one: the same numbers.
        array.reshape(shape) if dtype == array.dtype.name == "uint8" and array.size == math.prod(shape) else array
        for array, (shape, dtype) in zip(checkpoint.variables, ours, strict=False)
    ]
    saved = [(array.shape, array.dtype.name) for array in (*arrays, *checkpoint.variables[len(arrays) :])]
    if ours != saved:
        differs = next((n for n, pair in enumerate(zip(ours, saved, strict=False)) if pair[0] != pair[1]), None)
        where = f"{len(saved)} variables, the model and its optimizer {len(ours)}"
        if differs is not None:
            own = f"{names_of(model)[differs]} as {ours[differs]}"
            where = f"{checkpoint.names[differs]} as {saved[differs]}, the model {own}"
        raise InputError(f"the model must be that of the checkpoint, which has {where}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def digest(array: np.ndarray) -> bytes:
    """SHA-256 of an array's bits, shape and dtype."""
    sha = hashlib.sha256(f"{array.dtype.name} {array.shape}".encode())
    sha.update(_plain(array).reshape(-1).view(np.uint8).data)
    return sha.digest()


def digest_of(data: Any) -> str:
    """SHA-256 of nested arrays, a part at a time, so that a `numpy.memmap` need not fit into memory."""
    sha = hashlib.sha256()
    for array in keras.tree.flatten(data):
        if array is None:
            sha.update(b"none")
            continue
        array = np.asanyarray(array)
        sha.update(f"{array.dtype.name} {array.shape}".encode())
        for start in range(0, len(array), rows := max(2**24 // max(array[:1].nbytes, 1), 1)):
            sha.update(np.ascontiguousarray(array[start : start + rows]).view(np.uint8).data)
    return sha.hexdigest()


def chained(before: bytes, digests: Iterable[bytes], figures: np.ndarray) -> bytes:
    """The hash of an epoch's state and figures (columns,) float64, chained to that of the epoch before."""
    return hashlib.sha256(before + b"".join(digests) + figures.tobytes()).digest()


def _groups(model: keras.Model) -> dict[str, list[Any]]:
    return {
        "trainable": model.trainable_variables,
        "non-trainable": model.non_trainable_variables,
        "optimizer": model.optimizer.variables,
    }


def _plain(array: np.ndarray) -> np.ndarray:
    """The bits as a dtype that NumPy itself has, which is all that safetensors takes from it."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array if array.dtype.name in _PLAIN else array.view(f"uint{8 * array.dtype.itemsize}")


def _typed(array: np.ndarray, dtype: str | None) -> np.ndarray:
    if dtype is None:
        return array
    import ml_dtypes  # which JAX and Keras have their narrow dtypes from

    if not _NARROW.fullmatch(dtype):
        raise ValueError(f"an array has the dtype {dtype!r}")
    return array.view(np.dtype(getattr(ml_dtypes, dtype)))


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(name.encode() + digest(arrays[name]))
    return sha.hexdigest()
