"""Data to train on: by name, from a file or a function, encoded as numbers, split and standardized."""

from adamkit.lab.data.datasets import NAMES, OFFLINE, Dataset, load
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
    "Parts",
    "Standardized",
    "StandardizedParts",
    "apply",
    "load",
    "partition",
    "split",
    "standardize",
    "standardize_parts",
]
