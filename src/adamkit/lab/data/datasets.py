"""Data sets to train on, by name: built in, downloaded, from a file, or from a function of the user's."""

import contextlib
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamkit.lab import references
from adamkit.lab.data import encoding, files
from adamkit.lab.data.encoding import TargetKind
from adamkit.lab.errors import InputError, listed, nearest, reason

IMDB_WORDS = 5000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from.

    Attributes:
        name: What the user called it.
        x: (rows, …) float32, the features of each row: (rows, columns) or (rows, height, width, channels).
            Of a table as it stands (`load` with `as_table`) a pandas DataFrame, which `Encoding` makes into such.
        y: (rows,) what to predict: float32 0 or 1 for "binary", int32 0 … classes - 1 for "classes", float32 for
            "number".
        target: What kind of target it is: "binary", "classes" or "number".
        class_names: The name of each class, by label; None for a "number".
        feature_names: The name of each column of x, where they have any.
        standardize: Whether the features are to be given zero mean and unit variance before training, as those of
            tables are. Images are scaled to [0, 1] instead.

    Example:
        >>> dataset = Dataset("xor", np.float32([[0, 0], [0, 1], [1, 0], [1, 1]]), np.float32([0, 1, 1, 0]), "binary",
        ...                   class_names=("same", "different"))
        >>> len(dataset), dataset.classes, dataset.row_shape
        (4, 2, (2,))
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray
    target: TargetKind
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    standardize: bool = False

    def __len__(self) -> int:
        return len(self.y)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row's features."""
        return self.x.shape[1:]

    @property
    def classes(self) -> int | None:
        """The number of classes: 2 for "binary", None for a "number"."""
        return None if self.class_names is None else len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the dtype, shape and values of x and y: the same on every machine."""
        digest = hashlib.sha256()
        x: Any = self.x
        for array in (_fingerprints(x) if hasattr(x, "columns") else x, self.y):
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()


def load(
    name: str,
    *,
    target: str | None = None,
    kind: TargetKind | None = None,
    seed: int = 0,
    shuffle: bool = True,
    as_table: bool = False,
) -> Dataset:
    """The data set that `name` names.

    Rows from files and from scikit-learn are shuffled once, with `seed`, since many are sorted by class or by date and
    `split` takes the last ones. Those of `keras.datasets` and of functions keep their order.

    Args:
        name: One of

            - `random`: the example. 1000 rows of 20 features, uniform in [0, 1), with labels drawn at random from
              {0, 1}, both by `numpy.random.default_rng(seed)`.
            - `digits` (images of 8 by 8, ten classes), `breast_cancer` (binary), `wine` (three classes), `diabetes` (a
              number): in scikit-learn, so that they need no network.
            - `mnist`, `fashion_mnist`, `cifar10` (images), `imdb` (which of the 5000 most frequent words a review has,
              as 0 and 1): the training part in `keras.datasets`, downloaded when first used.
            - A `.csv` or `.parquet` file with a column `target`, or a `.npz` file with arrays x and y, or with an array
              `target` and another one. Features must be numbers or booleans, unless `as_table` is set.
            - `module:function` or `file.py:function`: a function without required arguments that returns `(x, y)` or a
              `Dataset`. The current directory can be imported from.

        target: The name of the target's column or array in a file.
        kind: What kind of target it is. None: two different values are "binary"; text, booleans, categories and
            integers with at most 20 different values are "classes"; other numbers are a "number".
        seed: An integer >= 0, for the random numbers of `random` and the order of the rows.
        shuffle: False: all rows keep the order that they have there.
        as_table: True: the features of a table (a file or a DataFrame from a function) stay a pandas DataFrame, of
            whatever types, which `Encoding` makes into numbers once the rows to train on are chosen: see `load_parts`.

    Returns:
        The data set, with finite features and at least two different labels.

    Raises:
        InputError: There is no such data set, or something in it cannot be learned from.
        OSError: A download failed, or a file cannot be read.

    Example:
        >>> wine = load("wine")
        >>> wine.x.shape, wine.target, wine.class_names
        ((178, 13), 'classes', ('class_0', 'class_1', 'class_2'))
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be an integer >= 0. Received: seed={seed!r}")
    if Path(name).suffix.lower() in files.ENDINGS:
        contents = files.read(Path(name), target)
        dataset = _encoded(name, contents.x, contents.y, contents.target, kind, as_table)
        return _shuffled(dataset, seed) if shuffle else dataset
    if target is not None:
        accepted = " or ".join(files.ENDINGS)
        raise InputError(f"the target {target!r} must be in a {accepted} file, and {name!r} is no such file")
    if name in _BUILT_IN:
        dataset = _BUILT_IN[name](name, seed)
        if shuffle and _BUILT_IN[name] is _scikit_learn:
            dataset = _shuffled(dataset, seed)
        return dataset if kind in (None, dataset.target) else _encoded_again(dataset, kind)
    if references.is_reference(name):
        return _from_function(name, kind, as_table)
    if Path(name).exists() or len(Path(name).parts) > 1 or Path(name).suffix:
        files.check_file(Path(name), files.ENDINGS)
    raise InputError(
        f"unknown data set {name!r}.{nearest(name, NAMES)} Accepted: {listed(NAMES)}, "
        f"a {' or '.join(files.ENDINGS)} file, module:function or file.py:function"
    )


def _random(name: str, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.random((1000, 20)).astype(np.float32)
    y = rng.integers(0, 2, 1000).astype(np.float32)
    return Dataset(name, x, y, "binary", class_names=("0", "1"))


def _scikit_learn(name: str, seed: int) -> Dataset:
    from sklearn import datasets

    if name == "digits":
        digits: Any = datasets.load_digits()
        x = (digits.images[..., None] / 16).astype(np.float32)
        return Dataset(name, x, digits.target.astype(np.int32), "classes", _DIGITS)
    if name == "diabetes":
        bunch: Any = datasets.load_diabetes(scaled=False)
        kind, dtype, class_names = "number", np.float32, None
    else:
        bunch = {"breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}[name]()
        class_names = tuple(map(str, bunch.target_names))
        kind, dtype = ("binary", np.float32) if len(class_names) == 2 else ("classes", np.int32)
    return Dataset(
        name,
        bunch.data.astype(np.float32),
        bunch.target.astype(dtype),
        kind,
        class_names,
        tuple(map(str, bunch.feature_names)),
        standardize=True,
    )


def _keras_images(name: str, seed: int) -> Dataset:
    x, y = _downloaded(name)
    x = x.reshape(*x.shape[:3], -1).astype(np.float32)
    x /= 255
    return Dataset(name, x, y.reshape(-1).astype(np.int32), "classes", _KERAS_CLASSES[name])


def _imdb(name: str, seed: int) -> Dataset:
    first = 4  # 0, 1, 2 mean padding, start and a rare word; 3 is not used, and 4 is the most frequent word
    reviews, y = _downloaded(name, num_words=first + IMDB_WORDS)
    x = np.zeros((len(reviews), IMDB_WORDS), np.float32)
    for row, review in zip(x, reviews, strict=True):
        words = np.asarray(review)
        row[words[words >= first] - first] = 1
    return Dataset(name, x, y.astype(np.float32), "binary", _KERAS_CLASSES[name])


def _downloaded(name: str, **options: Any) -> tuple[NDArray, NDArray]:
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras says that it downloads, and how far it is
            (x, y), _ = getattr(keras.datasets, name).load_data(**options)
    except Exception as error:  # Keras raises a bare Exception when there is no network
        raise OSError(
            f"could not download the data set {name}, which needs a network when first used ({reason(error)}); "
            f"these need none: {listed(OFFLINE)}"
        ) from error
    return x, y


def _from_function(name: str, kind: TargetKind | None, as_table: bool) -> Dataset:
    made = references.call(name)
    if isinstance(made, Dataset):
        return _checked(replace(made, name=name), kind)
    if not (isinstance(made, (tuple, list)) and len(made) == 2):
        raise InputError(f"{name} must return (x, y) or a Dataset. Received: {type(made).__name__}")
    x, y = made
    return _encoded(name, x, y, f"y of {name}", kind, as_table)


def _checked(dataset: Dataset, kind: TargetKind | None) -> Dataset:
    """A user's own Dataset, made to be what the class says."""
    again = _encoded(dataset.name, dataset.x, dataset.y, f"y of {dataset.name}", kind or dataset.target)
    if dataset.class_names is not None and again.class_names is not None:
        labels = np.asarray(dataset.y).reshape(-1)
        if not np.isin(labels, np.arange(len(dataset.class_names))).all():
            raise InputError(f"y of {dataset.name} must be 0 … {len(dataset.class_names) - 1}, for its class_names")
        again = replace(again, y=labels.astype(again.y.dtype), class_names=tuple(dataset.class_names))
    return replace(again, feature_names=dataset.feature_names or again.feature_names, standardize=dataset.standardize)


def _encoded(name: str, x: Any, y: Any, target: str, kind: TargetKind | None, as_table: bool = False) -> Dataset:
    features = encoding.table(x, name) if as_table and hasattr(x, "columns") else encoding.features(x, name)
    labels = encoding.target(y, target, kind)
    if len(features.x) != len(labels.y):
        raise InputError(f"x and y of {name} must have as many rows. Received: {len(features.x)} and {len(labels.y)}")
    is_table = features.x.ndim == 2
    return Dataset(name, features.x, labels.y, labels.kind, labels.class_names, features.names, standardize=is_table)


def _encoded_again(dataset: Dataset, kind: TargetKind) -> Dataset:
    y, kind, class_names = encoding.target(dataset.y, f"the target of {dataset.name}", kind)
    return replace(dataset, y=y, target=kind, class_names=class_names and (dataset.class_names or class_names))


def _shuffled(dataset: Dataset, seed: int) -> Dataset:
    order = np.random.default_rng(seed).permutation(len(dataset))
    return take(dataset, order)


def take(dataset: Dataset, rows: NDArray[np.integer]) -> Dataset:
    """The `rows` of `dataset`, by position, in that order."""
    x: Any = dataset.x
    return replace(dataset, x=x.iloc[rows] if hasattr(x, "columns") else x[rows], y=dataset.y[rows])


def _fingerprints(table: Any) -> NDArray:
    """(rows + columns,) uint64, which depend on every value and on the columns' names."""
    from pandas import util

    hashing: Any = util  # which pandas declares as an object
    rows = hashing.hash_pandas_object(table, index=False).to_numpy()
    return np.concatenate([rows, hashing.hash_array(np.array(list(map(str, table.columns)), object))])


_DIGITS = tuple("0123456789")
_KERAS_CLASSES = {
    "mnist": _DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "imdb": ("negative", "positive"),
}
_BUILT_IN: dict[str, Callable[[str, int], Dataset]] = {
    "random": _random,
    "digits": _scikit_learn,
    "breast_cancer": _scikit_learn,
    "wine": _scikit_learn,
    "diabetes": _scikit_learn,
    "mnist": _keras_images,
    "fashion_mnist": _keras_images,
    "cifar10": _keras_images,
    "imdb": _imdb,
}
NAMES = tuple(_BUILT_IN)
OFFLINE = tuple(name for name in NAMES if name not in _KERAS_CLASSES)
