import contextlib
import doctest
import importlib
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import hypothesis.extra.numpy as hnp
import keras
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.trainers.data_adapters.array_slicing import train_validation_split

from adamkit.lab import data
from adamkit.lab.data import Dataset, encoding, files
from adamkit.lab.errors import InputError

finite = st.floats(-1e6, 1e6, width=32)
tables = hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 5)), elements=finite)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def rejected(name, **options):
    """The one line that `load` says."""
    with pytest.raises(InputError) as error:
        data.load(name, **options)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def ones(rows, columns=2):
    return Dataset("ones", np.ones((rows, columns), np.float32), np.zeros(rows, np.float32), "number")


def test_the_example_is_the_designs():
    dataset = data.load("random", seed=3)
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(dataset.x, rng.random((1000, 20)).astype(np.float32))
    np.testing.assert_array_equal(dataset.y, rng.integers(0, 2, 1000))
    assert not dataset.standardize
    assert dataset.classes == 2


@pytest.mark.parametrize(
    ("name", "row_shape", "target", "classes", "y_dtype", "standardize"),
    [
        ("random", (20,), "binary", 2, np.float32, False),
        ("digits", (8, 8, 1), "classes", 10, np.int32, False),
        ("breast_cancer", (30,), "binary", 2, np.float32, True),
        ("wine", (13,), "classes", 3, np.int32, True),
        ("diabetes", (10,), "number", None, np.float32, True),
    ],
)
def test_what_comes_without_a_network(name, row_shape, target, classes, y_dtype, standardize):
    dataset = data.load(name)
    assert (dataset.row_shape, dataset.target, dataset.classes) == (row_shape, target, classes)
    assert (dataset.x.dtype, dataset.y.dtype, dataset.standardize) == (np.float32, y_dtype, standardize)
    if len(row_shape) > 1:
        assert (dataset.x.min(), dataset.x.max()) == (0, 1)
    if name != "random":
        assert dataset.fingerprint != data.load(name, seed=1).fingerprint
    if target == "classes":  # the last rows hold every class, though scikit-learn sorts by it
        assert len(np.unique(data.split(dataset, 0.2)[1].y)) == classes


def test_shuffling_keeps_rows_and_labels_together():
    write("a.csv", "f,y\n" + "".join(f"{i},{2 * i + 0.5}\n" for i in range(50)))
    one, same, other = (data.load("a.csv", target="y", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.y, 2 * one.x[:, 0] + 0.5)
    assert sorted(one.x[:, 0]) == list(range(50))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_the_fingerprint_is_the_same_on_every_machine():
    dataset = Dataset("d", np.float32([[1, 2], [3, 4]]), np.int32([0, 1]), "classes", ("a", "b"))
    assert dataset.fingerprint == "0b829f69c1a52c06f7dd31d1d165268d39bc9cede5cafb950253cff088c24d62"
    turned = Dataset("d", np.asfortranarray(dataset.x), dataset.y.astype(">i4"), "classes")
    assert turned.fingerprint == dataset.fingerprint


@settings(deadline=None)
@given(tables)
def test_the_fingerprint_tells_shapes_and_values_apart(x):
    def fingerprint(array):
        return Dataset("d", array, np.zeros(len(array), np.float32), "number").fingerprint

    changed = x.copy()
    changed.flat[-1] += 1 + abs(changed.flat[-1])
    assert len({fingerprint(x), fingerprint(changed), fingerprint(x[..., None])}) == 3
    assert fingerprint(x) == fingerprint(x.copy())


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
def test_split_takes_the_rows_that_keras_takes(rows, fraction):
    dataset = Dataset("d", np.arange(rows, dtype=np.float32)[:, None], np.arange(rows, dtype=np.float32), "number")
    if fraction == 0:
        assert data.split(dataset, fraction) == (dataset, None)
        return
    try:
        (x, y), (x_val, y_val) = train_validation_split((dataset.x, dataset.y), fraction)
    except ValueError:
        with pytest.raises(InputError, match="validation split"):
            data.split(dataset, fraction)
        return
    train, validation = data.split(dataset, fraction)
    for ours, kerass in ((train.x, x), (train.y, y), (validation.x, x_val), (validation.y, y_val)):
        np.testing.assert_array_equal(ours, np.asarray(kerass))


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), 1e-20, 0.9999])
def test_a_split_that_cannot_be(fraction):
    with pytest.raises(InputError, match="validation split"):
        data.split(ones(3), fraction)


@settings(deadline=None)
@given(tables, st.data())
def test_standardized_features_have_mean_0_and_variance_1_or_are_0(x, more):
    dataset = Dataset("d", x, np.zeros(len(x), np.float32), "number", standardize=True)
    other = more.draw(hnp.arrays(np.float32, (3, x.shape[1]), elements=finite))
    train, validation, mean, scale = data.standardize(dataset, Dataset("v", other, np.zeros(3), "number"))
    constant = x.min(axis=0) == x.max(axis=0)
    np.testing.assert_array_equal(scale == 0, constant)
    assert not train.x[:, constant].any()
    assert not validation.x[:, constant].any()
    varied = train.x[:, ~constant].astype(np.float64)
    np.testing.assert_allclose(varied.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(varied.var(axis=0), 1, rtol=1e-5)
    # What the run folder keeps, in JSON, is enough for new rows.
    mean, scale = (np.array(json.loads(json.dumps(numbers.tolist()))) for numbers in (mean, scale))
    np.testing.assert_array_equal(data.apply(other, mean, scale), validation.x)
    assert train.x.dtype == np.float32
    assert not train.standardize


@pytest.mark.parametrize(
    ("values", "target", "class_names", "y"),
    [
        ([3, 7, 3, 7], "binary", ("3", "7"), [0, 1, 0, 1]),
        ([1.0, -1.0, 1.0, 1.0], "binary", ("-1", "1"), [1, 0, 1, 1]),
        ([True, False, True, True], "binary", ("False", "True"), [1, 0, 1, 1]),
        (["no", "yes", "no", "no"], "binary", ("no", "yes"), [0, 1, 0, 0]),
        (["b", "a", "c", "b", "a", "c"], "classes", ("a", "b", "c"), [1, 0, 2, 1, 0, 2]),
        ([5, 9, 7, 5, 9, 7], "classes", ("5", "7", "9"), [0, 2, 1, 0, 2, 1]),
        ([5, 9, 7, 5], "number", None, [5, 9, 7, 5]),  # less than two rows a value
        ([0.5, 1.0, 2.0, 0.5, 1.0, 2.0], "number", None, [0.5, 1, 2, 0.5, 1, 2]),
        (list(range(21)) * 3, "number", None, list(range(21)) * 3),
    ],
)
@pytest.mark.parametrize("kind_of_file", ["npz", "csv", "parquet"])
def test_the_kind_of_target_follows_from_its_values(values, target, class_names, y, kind_of_file):
    rows = np.arange(len(values), dtype=np.float64)
    if kind_of_file == "npz":
        np.savez("d.npz", x=rows[:, None], y=np.array(values))
    elif kind_of_file == "csv":
        pd.DataFrame({"row": rows, "y": values}).to_csv("d.csv", index=False)
    else:
        pd.DataFrame({"row": rows, "y": values}).to_parquet("d.parquet")
    dataset = data.load(f"d.{kind_of_file}", target="y")
    assert (dataset.target, dataset.class_names, dataset.standardize) == (target, class_names, True)
    order = np.argsort(dataset.x[:, 0])
    np.testing.assert_array_equal(dataset.y[order], np.float32(y))
    assert dataset.y.dtype == (np.int32 if target == "classes" else np.float32)


def test_the_kind_of_target_can_be_chosen():
    write("a.csv", "f,y\n" + "".join(f"{i},{i % 5}\n" for i in range(50)))
    assert data.load("a.csv", target="y").target == "classes"
    assert data.load("a.csv", target="y", kind="number").target == "number"
    assert "two different values" in rejected("a.csv", target="y", kind="binary")
    assert "must be one of binary, classes, number" in rejected("a.csv", target="y", kind="nmber")
    cancer = data.load("breast_cancer", kind="classes")
    assert (cancer.y.dtype, cancer.class_names) == (np.int32, ("malignant", "benign"))
    write("t.csv", "f,y\n1,a\n2,b\n3,a\n")
    assert "must be numbers" in rejected("t.csv", target="y", kind="number")


def test_columns_of_a_table():
    pd.DataFrame(
        {
            "flag": [True, False, True],
            "nullable": pd.array([1, 2, 3], "Int64"),
            "price": [Decimal("1.5"), Decimal("2"), Decimal("4")],
            "big": [2**24 + 1, 0, 1],
            "y": [0.5, 1.5, 2.5],
        }
    ).to_parquet("d.parquet")
    dataset = data.load("d.parquet", target="y")
    assert dataset.feature_names == ("flag", "nullable", "price", "big")
    expected = np.float32([[1, 1, 1.5, 2**24], [0, 2, 2, 0], [1, 3, 4, 1]])
    np.testing.assert_array_equal(dataset.x[np.argsort(dataset.y)], expected)


def test_images_of_bytes_are_scaled_and_not_standardized():
    np.savez("d.npz", x=np.full((4, 2, 3), 255, np.uint8), y=[0, 1, 0, 1])
    dataset = data.load("d.npz")
    assert (dataset.x == 1).all()
    assert not dataset.standardize


def test_which_arrays_of_an_npz_file():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    for arrays, target in [
        ({"x": x, "y": y, "z": x}, None),
        ({"labels": y[:, None], "features": x}, None),
        ({"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3]}, "y_train"),
        ({"x": x, "other": x, "label": y}, "label"),
    ]:
        np.savez("d.npz", **arrays)
        dataset = data.load("d.npz", target=target)
        np.testing.assert_array_equal(np.sort(dataset.x, axis=0), x)
        assert dataset.target == "binary"


TABLE = "a,b,y\n1,4,no\n2,5,yes\n3,6,no\n"


@pytest.mark.parametrize(
    ("name", "content", "target", "parts"),
    [
        ("a.csv", TABLE, None, ["which column is the target", "a, b, y"]),
        ("a.csv", TABLE, "Y", ["no column 'Y'", "Did you mean 'y'?", "a, b, y"]),
        ("a.csv", TABLE, "price", ["no column 'price'", "a, b, y"]),
        ("a.csv", "", "y", ["a.csv is empty"]),
        ("a.csv", "a,b,y\n", "y", ["a.csv has no rows"]),
        ("a.csv", "y\n1\n2\n", "y", ["no feature columns"]),
        ("a.csv", "a,y\n1,no\n2,no\n", "y", ["column 'y' of a.csv", "same value in every row, no"]),
        ("a.csv", "a,y\n1,2.5\n2,2.5\n", "y", ["same value in every row, 2.5"]),
        ("a.csv", "a,y\n4,0\nParis,1\n", "y", ["column 'a' of a.csv", "'Paris' in row 2", "encode it as numbers"]),
        ("a.csv", "a,y\n2020-01-31,0\n2020-02-01,1\n", "y", ["column 'a'", "'2020-01-31' in row 1"]),
        ("a.csv", "a,y\n1,0\n,1\n,1\n", "y", ["column 'a'", "2 of 3 values are missing", "nan in row 2"]),
        ("a.csv", "a,y\n1,0\n-inf,1\n", "y", ["column 'a'", "1 of 2 values is missing, infinite", "-inf in row 2"]),
        ("a.csv", "a,y\n1,0\n1e39,1\n", "y", ["too large for float32", "1e+39 in row 2"]),
        ("a.csv", "a,y\n1,0\n2,\n", "y", ["column 'y'", "1 of 2 values is missing", "row 2"]),
        ("a.csv", "a,y\n1,0\n2,1\n3,1e39\n", "y", ["column 'y'", "too large for float32"]),
        ("a.csv", "a,y\n1,n1\n2,n2\n3,n3\n", "y", ["text with 3 different values in 3 rows"]),
        ("a.csv", "a,a,y\n1,2,0\n3,4,1\n", "y", ["more than one column named 'a'"]),
        ("a.csv", ",a,y\n0,2,0\n1,4,1\n", "y", ["column 1 has no name", "index"]),
        ("a.csv", "a;b;y\n1;2;0\n", "y", ["'a;b;y'", "commas"]),
        ("a.csv", "a,y\n1,2,3\n4,5,6\n", "y", ["no table of comma-separated values"]),
        ("a.csv", "a,y\n1,2\n4,5,6\n", "y", ["no table of comma-separated values"]),
        ("a.csv", b"\x89PNG\r\n\x1a\n\x00", "y", ["no table of comma-separated values"]),
        ("a.parquet", b"PAR2 and so on", "y", ["no readable Parquet file"]),
        ("a.npz", b"PK and so on", None, ["no .npz file"]),
        ("a.txt", "1 2", None, ["a.txt", "ending", ".npz, .csv, .parquet"]),
    ],
)
def test_a_file_that_is_wrong(name, content, target, parts):
    message = rejected(write(name, content), target=target)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x": np.ones((4, 2)), "y": [0, 1, 0]}, ["as many rows", "4 and 3"]),
        ({"x": np.ones((4, 2)), "y": np.eye(4)}, ["array 'y'", "one value a row", "(4, 4)", "argmax"]),
        ({"x": np.array([object()] * 4), "y": [0, 1, 0, 1]}, ["Python objects"]),
        ({"x": [["a"]] * 4, "y": [0, 1, 0, 1]}, ["x of d.npz must be numbers"]),
        ({"x": np.array([[0, np.nan], [1, 1]]), "y": [0, 1]}, ["x of d.npz", "nan in row 1, at [0, 1]"]),
        ({"x": np.ones((0, 2)), "y": []}, ["rows and features", "(0, 2)"]),
        ({"x": np.ones((2, 2)), "y": np.array(["2020", "2021"], "M8")}, ["array 'y'", "datetime64"]),
        ({"a": np.ones((2, 2)), "b": np.ones((2, 2))}, ["which array", "a (2, 2), b (2, 2)"]),
        ({}, ["which array"]),
    ],
)
def test_arrays_that_are_wrong(arrays, parts):
    np.savez("d.npz", **arrays)
    message = rejected("d.npz")
    for part in parts:
        assert part in message


def test_a_pickle_is_never_run():
    class Harmful:
        def __reduce__(self):
            return (Path("harm").touch, ())

    np.savez("d.npz", x=np.array([Harmful()], dtype=object), y=[1])
    assert "Python objects" in rejected("d.npz")
    np.array([Harmful()], dtype=object).dump("e.npz")
    assert "no .npz file" in rejected("e.npz")
    assert not Path("harm").exists()


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=60))
def test_a_damaged_file_is_no_crash(tmp_path_factory, position, noise):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez(path, x=np.arange(12.0).reshape(6, 2), y=[0, 1] * 3)
    content = bytearray(path.read_bytes())
    content[position : position + len(noise)] = noise
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert len(data.load(str(path))) == 6


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("digit", ["unknown data set 'digit'", "Did you mean 'digits'?", "wine", ".csv", "module:function"]),
        ("houses.csv", ["there is no file houses.csv"]),
        ("housing.cvs", ["no file housing.cvs", "Did you mean 'housing.csv'?"]),
        ("folder", ["folder is a directory"]),
        ("folder.csv", ["folder.csv is a directory"]),
    ],
)
def test_a_name_that_is_wrong(name, parts):
    write("housing.csv", TABLE)
    Path("folder").mkdir()
    Path("folder.csv").mkdir()
    message = rejected(name)
    for part in parts:
        assert part in message


def test_other_arguments_that_are_wrong():
    assert "'wine' is no such file" in rejected("wine", target="y")
    for seed in (-1, 1.5, True):
        assert "seed must be an integer" in rejected("random", seed=seed)


MODULE = """
import numpy as np
from adamkit.lab.data import Dataset

number = 3
def pair(): return np.eye(6)[:, :3], [0, 1] * 3
def frame():
    import pandas as pd
    return pd.DataFrame({"a": [1, 2, 3.5]}), pd.Series(["u", "v", "u"])
def dataset(): return Dataset("mine", np.eye(6), [2, 1, 0] * 2, "classes", ("a", "b", "c", "never"))
def out_of_range(): return Dataset("mine", np.eye(6), [3, 1, 0] * 2, "classes", ("a", "b", "c"))
def nothing(): pass
def ragged(): return [[1, 2], [3]], [1, 2]
def wanting(x): pass
def failing():
    raise KeyError("first line\\nsecond line")
"""


@pytest.mark.parametrize("source", ["own_data_module", "own_data_module.py"])
def test_a_function_of_the_users(source, monkeypatch):
    write("own_data_module.py", MODULE)
    monkeypatch.delitem(sys.modules, "own_data_module", raising=False)
    path = list(sys.path)
    pair = data.load(f"{source}:pair")
    np.testing.assert_array_equal(pair.x, np.eye(6)[:, :3])  # in the order that it gave
    assert (pair.target, pair.name) == ("binary", f"{source}:pair")
    assert data.load(f"{source}:frame").feature_names == ("a",)
    own = data.load(f"{source}:dataset")
    assert (own.classes, own.standardize, own.x.dtype, own.y.dtype) == (4, False, np.float32, np.int32)
    for function, part in [
        ("pare", "Did you mean 'pair'?"),
        ("number", "not a function"),
        ("nothing", "must return (x, y) or a Dataset"),
        ("ragged", "one array"),
        ("wanting", "requires 1"),
        ("failing", "KeyError: 'first line\\nsecond line' (own_data_module.py, line 16)"),
        ("out_of_range", "0 … 2"),
    ]:
        assert part in rejected(f"{source}:{function}")
    with pytest.raises(InputError) as error:
        data.load(f"{source}:failing")
    assert isinstance(error.value.__cause__, KeyError)
    assert sys.path == path


@pytest.mark.parametrize(
    ("reference", "content", "part"),
    [
        ("own_broken.py:f", "def f(:", "SyntaxError"),
        ("own_exit.py:f", "raise SystemExit(3)", "SystemExit: 3"),
        ("own_import.py:f", "import no_such_package", "No module named 'no_such_package'"),
        ("own_missing.py:f", None, "own_missing.py does not exist"),
        ("no_such_module:f", None, "no module 'no_such_module'"),
        ("json.nothing:f", None, "no module 'json.nothing'"),
        (":f", None, "module:function"),
        ("json:", None, "module:function"),
    ],
)
def test_a_reference_that_is_wrong(reference, content, part):
    if content is not None:
        write(reference.partition(":")[0], content)
    assert part in rejected(reference)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "imdb"])
def test_what_keras_downloads(name, monkeypatch, capsys):
    shape = (32, 32, 3) if name == "cifar10" else (28, 28)
    images = np.full((12, *shape), 255, np.uint8)
    reviews = np.array([[1, 4, 5, 4], [1, 2, 5003]] * 6, dtype=object)

    def load_data(**options):
        print("Downloading")
        if name == "imdb":
            assert options == {"num_words": 5004}
            return (reviews, np.arange(12) % 2), None
        return (images, np.arange(12)[:, None] % 10), None

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", load_data)
    dataset = data.load(name)
    assert dataset.x.dtype == np.float32
    assert dataset.classes == len(dataset.class_names) == (2 if name == "imdb" else 10)
    if name == "imdb":
        assert dataset.x.shape == (12, 5000)
        assert [np.flatnonzero(row).tolist() for row in dataset.x[:2]] == [[0, 1], [4999]]
    else:
        assert dataset.row_shape == (*shape[:2], 3 if name == "cifar10" else 1)
        assert (dataset.x == 1).all()
        np.testing.assert_array_equal(dataset.y, np.arange(12) % 10)
    assert capsys.readouterr().out == ""


def test_without_a_network(monkeypatch):
    def load_data(**options):
        raise Exception("URL fetch failure on https://example.org:\nNone")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(OSError, match=r"could not download the data set mnist.*network.*random, digits") as error:
        data.load("mnist")
    assert "\n" not in str(error.value)


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = """
import sys, types, adamkit
package = types.ModuleType("adamkit.lab")  # without what its __init__ imports
package.__path__ = [f"{adamkit.__path__[0]}/lab"]
sys.modules["adamkit.lab"] = package
import adamkit.lab.data, adamkit.lab.models
print({"pandas", "sklearn", "keras", "jax"} & set(sys.modules))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_byte_order_mark_is_no_part_of_a_name():
    write("a.csv", b"\xef\xbb\xbfy,a\r\n0,1\r\n1,2\r\n")
    assert data.load("a.csv", target="y").feature_names == ("a",)


@pytest.mark.parametrize(
    "module", ["data.datasets", "data.splits", "errors", "models.named", "models.objectives", "references"]
)
def test_the_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(f"adamkit.lab.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("order", "<>=")
@pytest.mark.parametrize("dtype", ["i4", "f4", "U1"])
def test_labels_of_any_order_of_bytes(order, dtype):
    labels = np.array([0, 1, 2] * 6).astype(np.dtype(dtype).newbyteorder(order))
    np.savez("ordered.npz", x=np.arange(18.0).astype(">f8"), y=labels)
    dataset = data.load("ordered.npz", kind="classes", shuffle=False)
    np.testing.assert_array_equal(dataset.y, [0, 1, 2] * 6)
    np.testing.assert_array_equal(dataset.x[:, 0], np.arange(18))


def test_arrays_that_are_not_needed_are_not_unpacked_and_those_that_are_must_fit(monkeypatch):
    np.savez_compressed("bomb.npz", x=np.eye(4), y=np.arange(4.0), other=np.zeros(10**6), odd=np.array([object()]))
    monkeypatch.setattr(files.machine, "free_memory", lambda: 1000)
    assert len(data.load("bomb.npz")) == 4
    assert "bomb.npz must fit into memory, 1,000 bytes. Received: 8,0" in rejected("bomb.npz", target="other")


@pytest.mark.parametrize(
    "metadata",
    [b"{", b"[]", b"\xff", b'{"index_columns": ["zz"], "columns": [], "column_indexes": []}',
     b'{"index_columns": [], "columns": 3, "column_indexes": []}'],
)  # fmt: skip
def test_a_table_with_wrong_metadata_of_pandas_is_named(metadata):
    table = pyarrow.table({"a": [1.0, 2.0], "y": [0, 1]}).replace_schema_metadata({b"pandas": metadata})
    pyarrow.parquet.write_table(table, "odd.parquet")
    assert "odd.parquet is no readable Parquet file" in rejected("odd.parquet", target="y")


def test_a_name_that_is_there_twice_is_found_at_once_among_many():
    names = [*map(str, range(30_000)), "5"]
    with pytest.raises(InputError, match="more than one column named '5'"):
        encoding.check_columns(names, "wide.csv")
