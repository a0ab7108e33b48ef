"""From a name to what a model is trained, validated and tested on: loaded, split, encoded and standardized."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamkit.lab.data.columns import Encoding
from adamkit.lab.data.datasets import Dataset, load
from adamkit.lab.data.encoding import TargetKind
from adamkit.lab.data.splits import Parts, partition, standardize_parts


@dataclass(frozen=True)
class Loaded:
    """Data that is ready to train on, and what to do to new rows.

    Attributes:
        parts: The rows to train, validate and test on.
        fingerprint: Of all rows as they were loaded: see `Dataset.fingerprint`.
        encoding: What became of each column of a table, or None where the data were arrays.
        mean: (…) float64, what was subtracted from each feature, or None where features were left as they are.
        scale: (…) float64, what it was divided by: see `apply`.
    """

    parts: Parts
    fingerprint: str
    encoding: Encoding | None = None
    mean: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None


def load_parts(
    name: str,
    *,
    target: str | None = None,
    kind: TargetKind | None = None,
    validation: float = 0.0,
    test: float = 0.0,
    split: str = "random",
    encode: bool = True,
    seed: int = 0,
) -> Loaded:
    """The parts of the data set that `name` names, as float32 features of zero mean and unit variance.

    In tables, text becomes a column of 0 and 1 for each value, dates become days, and what is missing is filled with
    the median and marked; columns that identify rows, are constant or empty are left out. What is needed for that is
    learnt from the rows to train on alone.

    Args:
        name: As in `load`; so are target and kind.
        target: …
        kind: …
        validation: As in `partition`; so is test.
        test: …
        split: The method of `partition`. With "last" no rows are shuffled when they are loaded.
        encode: False: the features of tables must be numbers or booleans, and all of them are used.
        seed: Of the data, where it is random, and of the parts.

    Raises:
        InputError: There is no such data set, or something in it cannot be learned from.
        OSError: A download failed, or a file cannot be read.

    Example:
        >>> loaded = load_parts("wine", validation=0.2, test=0.2)
        >>> [len(part) for part in loaded.parts]
        [106, 36, 36]
    """
    dataset = load(name, target=target, kind=kind, seed=seed, shuffle=split != "last", as_table=encode)
    parts = partition(dataset, validation, test, method=split, seed=seed)
    loaded = Loaded(parts, dataset.fingerprint)
    if hasattr(dataset.x, "columns"):
        loaded = _encoded(loaded)
    if not dataset.standardize:
        return loaded
    which = None if loaded.encoding is None else loaded.encoding.measured
    parts, mean, scale = standardize_parts(loaded.parts, which)
    return replace(loaded, parts=parts, mean=mean, scale=scale)


def _encoded(loaded: Loaded) -> Loaded:
    train = loaded.parts.train
    encoding = Encoding.fit(train.x, train.name)

    def encoded(part: Dataset) -> Dataset:
        x: Any = encoding.encode(part.x, part.name).x  # float64 until it is standardized
        return replace(part, x=x, feature_names=encoding.feature_names)

    return replace(loaded, parts=loaded.parts.map(encoded), encoding=encoding)
