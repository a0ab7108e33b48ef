"""What is given as data: arrays of any kind are taken, and what is none is named."""

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab.errors import InputError
from adamkit.lab.training.arrays import as_arrays
from adamkit.lab.training.trainer import checked_data

X = np.arange(6, dtype="float32").reshape(3, 2)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return X, X


def sparse():
    from scipy import sparse

    return sparse.csr_matrix(X)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (sparse, r"scipy\.sparse.*csr_matrix; its toarray\(\) makes an array of it"),
        (lambda: (row for row in X), "generator; of data that come batch by batch give all rows"),
        (Batches, r"\S*Batches; of data that come batch by batch give all rows, as an array or a numpy.memmap"),
        (lambda: "rows.csv", "str$"),
        (lambda: [["red", "green"]], "str$"),
        (lambda: {1, 2}, "set; "),
        (lambda: object(), "object$"),
        (lambda: 3, "int"),
    ],
)
def test_what_is_no_array_is_named(make, received):
    with pytest.raises(TypeError, match=rf"x.* must be an array of numbers \(rows, …\).*Received: {received}"):
        checked_data(make(), X, None, 0.0)


@pytest.mark.parametrize(
    ("values", "received"),
    [
        (np.array(["red", "green", "red"]), "dtype <U5"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), "dtype datetime64"),
        (pd.DataFrame({"a": ["red", "green", "red"]}), "dtype (object|str), shape .*Encoding makes numbers"),
        (np.float32(3), r"dtype float32, shape \(\)"),
    ],
)
def test_an_array_of_no_numbers_is_named(values, received):
    with pytest.raises(InputError, match=f"y must be an array of numbers .*Received: {received}"):
        checked_data(X, values, None, 0.0)


def test_rows_of_different_lengths_are_named():
    with pytest.raises(InputError, match="x must have rows of one length"):
        checked_data([[1.0, 2.0], [3.0]], [0, 1], None, 0.0)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_list_of_rows_is_an_array(rows):
    (x, y, _), _ = checked_data(rows, [row[0] for row in rows], None, 0.0)
    np.testing.assert_array_equal(x, np.array(rows, "float32"))
    np.testing.assert_array_equal(y, x[:, 0])
    assert y.dtype == "float32"


def test_several_inputs_stay_several_of_any_library():
    import jax.numpy as jnp

    given = {"a": pd.DataFrame(X), "b": (jnp.asarray(X), X.tolist(), X.astype("int32")), "c": None}
    found = as_arrays("x", given)
    assert found["c"] is None
    assert isinstance(found["b"], tuple)
    for array in (found["a"], *found["b"]):
        np.testing.assert_array_equal(array, X)
    assert [array.dtype.name for array in (found["a"], *found["b"])] == ["float32"] * 3 + ["int32"]


def test_validation_data_and_class_weights_of_a_wrong_kind_are_named():
    with pytest.raises(TypeError, match=r"validation_data must be \(x, y\) or .*Received: generator"):
        checked_data(X, X, (row for row in X), 0.0)
    with pytest.raises(TypeError, match=r"x of validation_data must be .*Received: str"):
        checked_data(X, X, ("x", X), 0.0)
    with pytest.raises(TypeError, match="class_weight must be a dictionary of labels"):
        checked_data(X, X[:, 0], None, 0.0, class_weight=[1.0, 2.0])
