"""`adamkit train` on a table of anything, and `adamkit predict` on new rows of it."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adamkit.lab import predict
from adamkit.lab.runs.folder import RunFolder

pytestmark = pytest.mark.slow  # seconds, all in all


def houses(rows=60):
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "house_id": np.arange(rows),
            "rooms": rng.integers(1, 6, rows),
            "garden": rng.choice(["none", "small", "large"], rows),
            "built": pd.Series(np.where(rng.random(rows) < 0.2, np.nan, rng.integers(1900, 2020, rows))),
            "sold": pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d"),
        }
    )
    return table.assign(price=100 + 30 * table.rooms + 50 * (table.garden == "large") + rng.random(rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    houses().to_csv(folder / "houses.csv", index=False)
    houses(5).drop(columns=["price"]).to_csv(folder / "new.csv", index=False)
    return folder


@pytest.fixture
def adamkit(command_line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if not (folder / "run").exists():
        command = "train --data houses.csv --target price --validation-split 0.2 --test-split 0.2 --model logistic"
        code, out, err = command_line(*command.split(), "--batch-size", 36, "--epochs", 2, "--out", "run")
        assert code == 0
        (folder / "out").write_text(out)
        (folder / "err").write_text(err)
    return command_line


@pytest.mark.usefixtures("adamkit")
def test_a_run_says_what_became_of_the_columns():
    out, err = Path("out").read_text(), Path("err").read_text()
    for part in (
        "data   houses.csv: 36 rows of 7 features, a number to predict",
        "       12 more rows to validate on",
        "       12 more rows to measure once, at the end",
        "       a column of 0 and 1 for each value of garden (large, none, small)",
        "       days since 1970-01-01 in place of dates: sold",
        "       the median where a value is missing, and a column that says where: built (in ",
        "       numbers and dates standardized: mean 0, variance 1",
        "test   loss ",
    ):
        assert part in out, part
    assert err == (
        "adamkit: warning: column 'house_id' was left out: it identifies rows: its 36 whole numbers are all different\n"
    )
    record = RunFolder.open("run").read_record()
    assert record["test"].keys() == {"loss", "mae"}
    assert [column["kind"] for column in record["data"]["columns"]] == ["left out", "number", "text", "number", "date"]


def test_the_table_goes_to_the_output_or_to_a_file(adamkit):
    code, out, err = adamkit("predict", "run", "new.csv")
    assert (code, err) == (0, "")
    expected = predict("run", "new.csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), expected, check_dtype=False)
    for name, read in (("a/p.csv", pd.read_csv), ("p.parquet", pd.read_parquet)):
        code, out, err = adamkit("predict", "run", "new.csv", "--out", name, "--keep", "house_id,garden")
        assert (code, out) == (0, "")
        assert err == f"saved  {name}: 5 rows, columns house_id, garden, prediction\n"
        table = read(name)
        assert table.house_id.tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(table.prediction, expected.prediction, rtol=1e-6)


def test_remarks_are_no_part_of_the_table(adamkit):
    Path("odd.csv").write_text("sold,rooms,garden,built,colour\n2024-02-02,3,huge,,red\n")
    code, out, err = adamkit("predict", "run", "odd.csv")
    assert code == 0
    assert out.splitlines()[0] == "prediction"
    assert len(out.splitlines()) == 2
    assert err.splitlines() == [
        "adamkit: odd.csv: ignored column 'colour', which the model was not trained on",
        "adamkit: column 'garden' of odd.csv: 1 row has a value that the model was not trained on, such as 'huge'; "
        "they count as none of those it knows",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "missing.csv"], "there is no file missing.csv"),
        (["nowhere", "new.csv"], "a run folder must hold a file run.json. Received: 'nowhere'"),
        (["run", "less.csv"], "less.csv has no columns 'garden', 'built', 'sold'. The model was trained on: rooms"),
        (["run", "wrong.csv"], "column 'rooms' of wrong.csv must be numbers. Received: 'many' in row 2"),
        (["run", "empty.csv"], "empty.csv has no rows"),
        (["run", "new.csv", "--out", "p.txt"], "--out must end in .csv, .parquet. Received: p.txt"),
        (["run", "new.csv", "--out", "new.csv"], "--out must be another file than that of the rows"),
        (["run", "new.csv", "--keep", "hous_id"], "'hous_id'. Did you mean 'house_id'?"),
        (["run"], "Missing argument 'FILE'"),
    ],
)
def test_wrong_input_is_one_line(adamkit, arguments, said):
    Path("less.csv").write_text("rooms\n3\n")
    Path("wrong.csv").write_text("rooms,garden,built,sold\n3,none,1950,2024-01-01\nmany,none,1950,2024-01-01\n")
    Path("empty.csv").write_text("rooms,garden,built,sold\n")
    code, out, err = adamkit("predict", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not Path("p.txt").exists()


def test_a_sweep_and_a_range_test_take_the_same_table(adamkit):
    """They train on what `train` trains on, and the best setting of a sweep is measured on what it did not see."""
    data = "--data", "houses.csv", "--target", "price", "--model", "logistic"
    code, *_ = adamkit(
        *("sweep", *data, "--validation-split", 0.2, "--test-split", 0.2, "--learning-rate", "0.01,0.1"),
        *("--epochs", 1, "--batch-size", 36, "--out", "sweep"),
    )
    assert code == 0
    run, sweep = (RunFolder.open(name).read_record()["data"] for name in ("run", "sweep"))
    assert sweep == run
    code, out, _ = adamkit("train", "--best-of", "sweep", "--out", "best")
    assert code == 0
    assert "test   loss " in out
    code, out, _ = adamkit("range", *data, "--steps", 10, "--batch-size", 60, "--out", "range", "--json")
    assert code == 0
    assert json.loads(out)
