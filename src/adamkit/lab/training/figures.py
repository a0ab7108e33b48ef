"""The numbers in what a training step reports."""

import warnings
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

MOST_ENTRIES = 100  # of an array, a column each


def figures(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The scalars in a step's logs, by name.

    Args:
        logs: What a `train_step` returned, or metrics: scalars, arrays of any library, also traced ones, and mappings
            of them.

    Returns:
        A scalar by its name, those of a mapping within by theirs, or, where that is taken, behind the mapping's
        (`"outer_inner"`), and each entry of an array by its place (`"f1_score_0"`). What is no number, and an array of
        more than 100 entries, is left out, with a RuntimeWarning that names it.
    """
    found: dict[str, Any] = {}
    left_out: list[str] = []
    _collect(logs, "", found, left_out)
    if left_out:
        warnings.warn(
            f"left out of the history, as they are no numbers: {', '.join(sorted(left_out))}",
            RuntimeWarning,
            stacklevel=2,
        )
    return found


def _collect(logs: Mapping[str, Any], outer: str, found: dict[str, Any], left_out: list[str]) -> None:
    for name, value in logs.items():
        own = name if name not in found else f"{outer}_{name}"
        if isinstance(value, Mapping):
            _collect(value, name, found, left_out)
            continue
        value = np.asarray(value) if isinstance(value, (bool, int, float, list, tuple)) else value
        shape = getattr(value, "shape", None)
        if shape is None or not _is_numeric(value) or prod(shape) > MOST_ENTRIES:
            left_out.append(own)
        elif not len(shape):
            found[own] = value
        else:
            places = list(np.ndindex(*map(int, shape)))
            found |= {f"{own}_{'_'.join(map(str, place))}": value[place] for place in places}


def _is_numeric(value: Any) -> bool:
    kind = str(getattr(value, "dtype", "")).removeprefix("torch.").lower()
    return kind.startswith(
        ("int", "uint", "float", "bfloat", "bool", "<dtype: 'int", "<dtype: 'float", "<dtype: 'bool")
    )
