"""Data to train on: by name, from a file or a function, split, encoded as numbers and standardized."""

from adamkit.lab.data.columns import Encoding, numbers_only
from adamkit.lab.data.datasets import NAMES, OFFLINE, Dataset, load
from adamkit.lab.data.loading import Loaded, load_parts
from adamkit.lab.data.splits import (
    METHODS,
    Parts,
    Standardized,
    StandardizedParts,
    apply,
    partition,
    split,
    standardize,
    standardize_parts,
)

__all__ = [
    "METHODS",
    "NAMES",
    "OFFLINE",
    "Dataset",
    "Encoding",
    "Loaded",
    "Parts",
    "Standardized",
    "StandardizedParts",
    "apply",
    "load",
    "load_parts",
    "numbers_only",
    "partition",
    "split",
    "standardize",
    "standardize_parts",
]
