"""Data to train on: by name, from a file or a function, encoded as numbers, split and standardized."""

from adamkit.lab.data.datasets import NAMES, OFFLINE, Dataset, load
from adamkit.lab.data.splits import Standardized, apply, split, standardize

__all__ = ["NAMES", "OFFLINE", "Dataset", "Standardized", "apply", "load", "split", "standardize"]
