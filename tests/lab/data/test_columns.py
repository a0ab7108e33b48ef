"""What the columns of a table become: as scikit-learn's transformers have it, from what JSON keeps of them."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from adamkit.lab import data
from adamkit.lab.data import Encoding
from adamkit.lab.errors import InputError


def fit(table):
    return Encoding.fit(pd.DataFrame(table), "t.csv")


def kinds(table):
    return {column.name: column.kind for column in fit(table).columns}


def refused(encoding, table):
    with pytest.raises(InputError) as error:
        encoding.encode(pd.DataFrame(table), "new.csv")
    return str(error.value)


numbers = st.floats(-1e6, 1e6) | st.none()
rows = st.tuples(numbers, numbers, st.sampled_from(["a", "b", "ß", None]))


@settings(deadline=None, max_examples=50)
@given(st.lists(rows, min_size=8, max_size=40), st.lists(rows, min_size=1, max_size=5))
def test_it_is_what_scikit_learn_makes_of_it(train, new):
    train, new = (
        pd.DataFrame({"x": np.array(x, float), "y": np.array(y, float), "t": pd.Series(t, dtype=object)})
        for x, y, t in (zip(*part, strict=True) for part in (train, new))
    )
    try:
        encoding = Encoding.fit(train, "t.csv")
    except InputError as error:
        assert "no column to learn from" in str(error)  # noqa: PT017
        return
    encoding = Encoding.of(json.loads(json.dumps(encoding.as_json())))
    left = [column.name for column in encoding.used]
    numeric = [name for name in ("x", "y") if name in left]
    expected = []
    if numeric:
        imputer = SimpleImputer(strategy="median", add_indicator=True).fit(train[numeric].to_numpy())
        expected.append(imputer.transform(new[numeric].to_numpy()))
    if "t" in left:
        known = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[["t"]].to_numpy())
        expected.append(known.transform(new[["t"]].to_numpy()))
    found = encoding.encode(new, "new.csv").x
    np.testing.assert_array_equal(found, np.hstack(expected))
    assert len(encoding.feature_names) == len(encoding.measured) == found.shape[1]
    for name in {"x", "y", "t"} - set(left):
        assert train[name].nunique() <= 1 or name == "t"


def test_what_a_column_becomes():
    n = 12
    table = {
        "customer_id": range(100, 100 + n),
        "PassengerId": range(n),
        "note": [f"text {i}" for i in range(n)],
        "street": [f"street {i % 7}" for i in range(n)],
        "constant": ["x"] * n,
        "seven": [7] * n,
        "nothing": [None] * n,
        "rank": range(n),  # a number: nothing says that it identifies rows
        "flag": [True, False, None] * (n // 3),
        "whole": pd.array([1, None, 3] * (n // 3), "Int64"),
        "size": ["S", "M", "L"] * (n // 3),
        "children": ["0", "1", "2", "3+"] * (n // 4),
        "grade": pd.Categorical([1, 2, 1] * (n // 3)),
        "day": pd.date_range("2024-01-01", periods=n).strftime("%Y-%m-%d"),
        "german": pd.date_range("2024-01-01", periods=n).strftime("%d.%m.%Y"),
        "moment": pd.date_range("2024-01-01", periods=n, tz="Europe/Berlin"),
        "python": [date(2024, 1, 1 + i) for i in range(n)],
    }
    assert kinds(table) == {
        **dict.fromkeys(("customer_id", "PassengerId", "note", "street", "constant", "seven", "nothing"), "left out"),
        "rank": "number",
        "flag": "boolean",
        "whole": "number",
        "size": "text",
        "children": "text",
        "grade": "text",
        **dict.fromkeys(("day", "german", "moment", "python"), "date"),
    }
    encoding = fit(table)
    assert [line.partition(": ")[2].partition(" ")[2].partition(",")[0][:20] for line in encoding.left_out()] == [
        *("identifies rows: its", "identifies rows: its", "identifies rows: its", "is text with 7 diffe"),
        *("has the same value i", "has the same value i", "has no value in any "),
    ]
    described = "\n".join(encoding.described())
    for part in (
        "size (L, M, S)",
        "children (0, 1, 2, 3+)",
        "grade (1, 2)",
        "german (%d.%m.%Y)",
        "flag (in 4 rows), whole (in 4 rows)",
    ):
        assert part in described
    x = dict(zip(encoding.feature_names, encoding.encode(pd.DataFrame(table), "t.csv").x.T, strict=True))
    np.testing.assert_array_equal(x["day"], x["german"])
    np.testing.assert_array_equal(x["day"], x["python"])
    np.testing.assert_array_equal(x["day"], 19723 + np.arange(n))  # days since 1970-01-01
    np.testing.assert_allclose(x["moment"], x["day"] - 1 / 24)  # midnight in Berlin is 23:00 UTC
    np.testing.assert_array_equal(x["whole"][:3], [1, 2, 3])
    np.testing.assert_array_equal(x["whole missing"][:3], [0, 1, 0])


@settings(deadline=None, max_examples=30)
@given(st.dates(), st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S"]))
def test_a_date_is_read_as_it_was_written(day, written):
    if not 1680 < day.year < 2260:  # what nanoseconds since 1970 hold
        return
    table = {"d": [day.strftime(written), date(2000, 1, 31).strftime(written)] * 2}
    if day == date(2000, 1, 31):
        return
    x = fit(table).encode(pd.DataFrame(table), "t.csv").x
    assert x[0, 0] == (day - date(1970, 1, 1)).days


LEARNT = {
    "age": [20.0, 30.0, None, 50.0],
    "city": ["Rome", "Bern", "Rome", "Bern"],
    "code": ["7", "7a", "7", "7a"],
    "day": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-05"],
    "flag": [True, False, True, True],
}
NEW = {"age": [1], "city": ["Rome"], "code": ["7"], "day": ["2024-02-01"], "flag": [False]}


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"age": None}, ["new.csv has no column 'age'.", "trained on: age, city, code, day, flag"]),
        ({"age": None, "ages": [1]}, ["no column 'age'. Did you mean 'ages'?"]),
        ({"age": None, "day": None}, ["no columns 'age', 'day'"]),
        ({"age": ["old"]}, ["column 'age' of new.csv must be numbers. Received: 'old' in row 1"]),
        ({"age": [np.inf]}, ["column 'age' of new.csv: 1 of 1 values is infinite or too large", "inf in row 1"]),
        ({"age": [1e39]}, ["1e+39 in row 1"]),
        ({"city": [3.5]}, ["column 'city' of new.csv must be text such as 'Bern', 'Rome'", "numbers such as 3.5"]),
        ({"day": ["soon"]}, ["column 'day' of new.csv must be dates. Received: 'soon' in row 1"]),
        ({"day": [20240101]}, ["column 'day' of new.csv must be dates. Received: numbers such as 20240101"]),
        ({"flag": ["perhaps"]}, ["column 'flag' of new.csv must be numbers. Received: 'perhaps'"]),
        ({"age": [], "city": [], "code": [], "day": [], "flag": []}, ["new.csv has no rows"]),
    ],
    ids=str,
)
def test_new_rows_that_are_unlike_those_of_before(changed, parts):
    table = {name: values for name, values in (NEW | changed).items() if values is not None}
    message = refused(fit(LEARNT), table)
    for part in parts:
        assert part in message


def test_one_row_in_another_order_with_more_columns_and_nothing_in_it():
    encoding = fit(LEARNT)
    x, remarks = encoding.encode(pd.DataFrame({"more": [1], **dict(reversed(NEW.items()))}), "new.csv")
    np.testing.assert_array_equal(x, encoding.encode(pd.DataFrame(NEW), "new.csv").x)
    assert remarks == []
    empty, remarks = encoding.encode(pd.DataFrame({name: [None] for name in NEW}), "new.csv")
    found = dict(zip(encoding.feature_names, empty[0], strict=True))
    assert (found["age"], found["age missing"], found["flag"]) == (30, 1, 1)
    assert [found["city=Rome"], found["city=Bern"], found["code=7"], found["code=7a"]] == [0, 0, 0, 0]
    assert remarks == [
        f"column '{name}' of new.csv: 1 row has a value that the model was not trained on, missing; "
        "they count as none of those it knows"
        for name in ("city", "code")
    ]


def test_a_value_that_is_not_known_is_said_and_counts_as_none():
    encoding = fit(LEARNT)
    x, remarks = encoding.encode(pd.DataFrame(NEW | {"city": ["Oslo"]}), "new.csv")
    assert [x[0][encoding.feature_names.index(f"city={city}")] for city in ("Rome", "Bern")] == [0, 0]
    assert remarks[0].startswith("column 'city' of new.csv: 1 row has a value")
    assert "such as 'Oslo'" in remarks[0]


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"a": [1, 1], "b": ["x", "x"]}, ["t.csv has no column to learn from", "'a' has the same value", "'b' has"]),
        ({"a": ["1", "2", "?", "4"]}, ["column 'a' of t.csv is not numeric", "'?' in row 3"]),
        ({"a": [1.0, np.inf, 2.0]}, ["column 'a' of t.csv: 1 of 3 values is infinite", "inf in row 2"]),
        ({"a": [[1], [2]]}, ["column 'a' of t.csv must be numbers, booleans, text or dates", "leave it out"]),
    ],
)
def test_a_table_that_cannot_be_learned_from(table, parts):
    with pytest.raises(InputError) as error:
        fit(table)
    for part in parts:
        assert part in str(error.value)


def test_a_record_that_somebody_changed():
    with pytest.raises(InputError, match="record of the table's columns"):
        Encoding.of([{"name": "a", "kind": "number", "colour": 3}])
    with pytest.raises(InputError, match="record of the table's columns"):
        Encoding.of(3)


def test_only_the_rows_to_train_on_are_learnt_from(tmp_path):
    table = pd.DataFrame({"a": np.arange(40.0), "b": ["u", "v"] * 20, "y": np.arange(40) % 2})
    table.loc[30:, "a"] = 1e6
    table.loc[35:, "b"] = "new"
    table.to_csv(tmp_path / "t.csv", index=False)
    loaded = data.load_parts(str(tmp_path / "t.csv"), target="y", validation=0.125, test=0.125, split="last")
    assert [len(part) for part in loaded.parts] == [30, 5, 5]
    assert loaded.encoding.feature_names == ("a", "b=u", "b=v")
    assert loaded.encoding.columns[0].median == 14.5
    np.testing.assert_allclose(loaded.mean, [14.5, 0, 0])
    np.testing.assert_array_equal(loaded.parts.train.x[:, 1], [1, 0] * 15)
    np.testing.assert_array_equal(loaded.parts.test.x[:, 1:], 0)  # a value that was not there to learn from
    assert loaded.parts.train.x.dtype == np.float32


def test_dates_beyond_what_nanoseconds_hold():
    table = pd.DataFrame({"until": ["0001-01-01", "1969-12-31", "2026-11-29", "9999-12-31"] * 2})
    x = Encoding.fit(table, "contracts.csv").encode(table, "contracts.csv").x
    expected = [(date.fromisoformat(day) - date(1970, 1, 1)).days for day in table.until]
    np.testing.assert_array_equal(x[:, 0], expected)
