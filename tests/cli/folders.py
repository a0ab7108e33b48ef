"""What the tests ask of run folders."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from adamkit.lab.runs.folder import RunFolder


def tree(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def assert_same_bits(first, second):
    columns = ["seconds"]
    pd.testing.assert_frame_equal(
        *(RunFolder.open(folder).read_history().drop(columns=columns) for folder in (first, second)), check_exact=True
    )
    for a, b in zip(*(weights(Path(folder, "model.keras")) for folder in (first, second)), strict=True):
        np.testing.assert_array_equal(a, b)


def weights(file):
    """All arrays in a `.keras` file, whatever backend reads it: weights and the optimizer's state."""
    arrays = []
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as h5:
        h5.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    assert len(arrays) > 4
    return arrays
