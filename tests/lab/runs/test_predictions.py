"""What a run predicts is what its model gives for the rows as they were trained on."""

import importlib
import json

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit import lab
from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.runs import Settings
from adamkit.lab.runs.folder import RunFolder

pytestmark = pytest.mark.slow  # seconds, all in all

predictions = importlib.import_module("adamkit.lab.runs.predictions")
ROWS = 40


def passengers():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "passenger_id": np.arange(ROWS),
            "age": np.where(rng.random(ROWS) < 0.3, np.nan, rng.integers(1, 80, ROWS)),
            "sex": rng.choice(["female", "male"], ROWS),
            "deck": pd.Series(rng.choice(["A", "B", None], ROWS), dtype=object),
            "boarded": pd.date_range("1912-04-01", periods=ROWS).strftime("%Y-%m-%d"),
        }
    )
    return table.assign(survived=np.where(rng.random(ROWS) < 0.4, "yes", "no"))


def trained(folder, **options):
    """The folder of a run of one epoch, and what it was prepared with."""
    prepared = runs.prepare(Settings(**{"model": "logistic", "epochs": 1, "batch_size": 40} | options))
    runs.execute(prepared, RunFolder.create(folder), lambda row: None)
    return folder, prepared


@pytest.fixture(scope="module")
def titanic(tmp_path_factory):
    """The file of a table, and a run that was trained on all of it, in its order."""
    folder = tmp_path_factory.mktemp("titanic")
    passengers().to_csv(folder / "table.csv", index=False)
    return folder / "table.csv", *trained(
        folder / "run", data=str(folder / "table.csv"), target="survived", split="last"
    )


def test_the_training_file_gives_the_models_own_outputs(titanic):
    file, run, prepared = titanic
    remarks = []
    table = lab.predict(run, file, on_remark=remarks.append)
    outputs = prepared.model.predict(prepared.train.x, verbose=0)[:, 0]
    assert list(table.columns) == ["prediction", "probability_no", "probability_yes"]
    np.testing.assert_allclose(table.probability_yes, outputs, rtol=1e-5)
    np.testing.assert_array_equal(table.prediction == "yes", outputs > 0.5)
    np.testing.assert_allclose(table.probability_no + table.probability_yes, 1, rtol=1e-6)
    assert remarks == [f"{file}: ignored column 'survived', which the model was not trained on"]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS),
    st.permutations(list(passengers().columns)),
    st.booleans(),
)
def test_any_of_the_rows_in_any_order_are_what_the_model_was_trained_on(titanic, rows, names, as_file):
    file, run, prepared = titanic
    table = pd.read_csv(file).iloc[rows][names]
    given = table
    if as_file:
        given = file.with_name("some.csv")
        table.to_csv(given, index=False)
    features = predictions.Trained.of(RunFolder.open(run)).features(given, lambda text: None)
    np.testing.assert_array_equal(features, prepared.train.x[rows])


def test_a_parquet_file_and_a_table_give_what_the_csv_file_gives(titanic):
    file, run, _ = titanic
    pd.read_csv(file).to_parquet(file.with_suffix(".parquet"))
    expected = lab.predict(run, file)
    for rows in (file.with_suffix(".parquet"), pd.read_csv(file).drop(columns=["survived", "passenger_id"])):
        pd.testing.assert_frame_equal(lab.predict(run, rows), expected)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda table: table.drop(columns="sex"), "the table has no column 'sex'"),
        (lambda table: table.assign(age="old"), "column 'age' of the table must be numbers. Received: 'old' in row 1"),
        (lambda table: table[:0], "the table has no rows"),
        (lambda table: np.ones((3, 5)), "the rows must be a table with the columns age, sex, deck, boarded"),
        (lambda table: "no.csv", "there is no file no.csv"),
    ],
)
def test_rows_that_are_wrong(titanic, change, part):
    file, run, _ = titanic
    with pytest.raises(InputError, match=part):
        lab.predict(run, change(pd.read_csv(file)))


def test_images(tmp_path):
    run, prepared = trained(tmp_path / "run", data="digits", split="last", validation_split=0.5)
    x = prepared.train.x[:9]
    outputs = prepared.model.predict(x, verbose=0)
    np.savez(tmp_path / "new.npz", x=x)
    for rows in (tmp_path / "new.npz", x[..., 0]):
        table = lab.predict(run, rows)
        np.testing.assert_allclose(table.filter(like="probability_").to_numpy(), outputs, rtol=1e-5)
        assert table.prediction.tolist() == [str(label) for label in outputs.argmax(axis=1)]
    with pytest.raises(InputError, match=r"must have the shape \(8, 8, 1\)\. Received: \(7, 8, 1\)"):
        lab.predict(run, x[:, :7])


def test_numbers_and_a_test_part_that_is_measured_once(tmp_path):
    run, prepared = trained(tmp_path / "run", data="diabetes", test_split=0.25, validation_split=0.25)
    record = RunFolder.open(run).read_record()
    assert [record["data"][name] for name in ("rows", "validation_rows", "test_rows")] == [220, 111, 111]
    raw = lab.data.partition(lab.data.load("diabetes"), 0.25, 0.25).test
    table = lab.predict(run, pd.DataFrame(raw.x, columns=raw.feature_names))
    assert list(table.columns) == ["prediction"]
    error = table.prediction.to_numpy(np.float64) - raw.y
    np.testing.assert_allclose(record["test"]["loss"], (error**2).mean(), rtol=1e-4)
    np.testing.assert_allclose(record["test"]["mae"], np.abs(error).mean(), rtol=1e-4)
    assert len(prepared.test) == 111


def test_a_run_of_before_there_was_a_choice_is_repeated_and_predicts(tmp_path):
    """Its record says nothing of the split and of columns: shuffled rows, the last ones to validate on, all columns."""
    table = pd.DataFrame({"id": np.arange(30), "b": np.ones(30), "y": np.arange(30) % 2})
    table.to_csv(tmp_path / "t.csv", index=False)
    name = str(tmp_path / "t.csv")
    run, prepared = trained(
        tmp_path / "run", data=name, target="y", validation_split=0.2, split="shuffled", encode=False
    )
    folder = RunFolder.open(run)
    record = folder.read_record()
    for key in ("split", "encode", "test_split"):
        del record["settings"][key]
    for key in ("columns", "test_rows"):
        del record["data"][key]
    folder.write_record(record)
    again = runs.prepare(runs.again(folder))
    assert runs.differences(record, again.record) == []
    train, validation, *_ = lab.data.standardize(*lab.data.split(lab.data.load(name, target="y"), 0.2))
    for part, now, expected in (
        (prepared.train, again.train, train),
        (prepared.validation, again.validation, validation),
    ):
        np.testing.assert_array_equal(now.x, expected.x)
        np.testing.assert_array_equal(part.x, expected.x)
        np.testing.assert_array_equal(now.y, expected.y)
    np.testing.assert_allclose(
        lab.predict(run, tmp_path / "t.csv").probability_1,
        prepared.model.predict(
            lab.data.apply(table[["id", "b"]].to_numpy(), *map(np.array, record["data"]["standardized"].values())),
            verbose=0,
        )[:, 0],
        rtol=1e-6,
    )
    with pytest.raises(InputError, match="1 of 1 values is missing"):
        lab.predict(run, pd.DataFrame({"id": [1.0], "b": [None]}))


def test_a_score_is_no_probability(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np, keras\n\n"
        "def data():\n    return np.random.rand(30, 3), ['cat', 'dog'] * 15\n\n"
        "def model():\n    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])\n"
    )
    run, prepared = trained(tmp_path / "run", data=f"{file}:data", model=f"{file}:model", loss="hinge")
    rows = np.random.default_rng(1).normal(0, 9, (20, 3))
    table = lab.predict(run, rows)
    mean, scale = (np.array(v) for v in json.loads((run / "run.json").read_text())["data"]["standardized"].values())
    scores = prepared.model.predict(lab.data.apply(rows, mean, scale), verbose=0)[:, 0]
    np.testing.assert_allclose(table.score, scores, rtol=1e-5)
    np.testing.assert_array_equal(table.prediction == "dog", scores > 0)


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"settings": {}, "sweep": {}}, "must be the folder of a training run, and is that of a sweep"),
        ({"settings": {}}, "must hold a trained model, and has no model.keras"),
    ],
)
def test_a_folder_that_cannot_predict(tmp_path, record, part):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_record(record)
    with pytest.raises(InputError, match=part):
        lab.predict(folder.path, np.ones((1, 2)))
    (folder.path / "model.keras").write_bytes(b"PK")
    if "sweep" not in record:
        with pytest.raises(InputError, match="must say what the model was trained on"):
            lab.predict(folder.path, np.ones((1, 2)))


def test_a_table_of_text_is_no_data_for_the_libraries_own_train():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    assert len(lab.train(model, table, pd.Series([0.5, 1.0]), epochs=1).history) == 1
    with pytest.raises(ValueError, match=r"numbers.*Received: dtype object, shape \(2, 2\); adamkit\.lab\.data\.Enc"):
        lab.train(model, table.assign(b=["x", "y"]), pd.Series([0.5, 1.0]), epochs=1)
