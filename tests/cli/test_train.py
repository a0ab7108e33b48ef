import importlib
import json
import signal
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from adamkit.cli.display import Display
from adamkit.lab.runs.folder import RunFolder
from tests.cli.folders import assert_same_bits, tree

pytestmark = pytest.mark.slow  # seconds, all in all

lab_module = importlib.import_module("adamkit.lab.training.trainer")  # `adamkit.lab.train` is the function in it

FILES = ["checkpoints", "history.parquet", "model.keras", "run.json"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def adamkit(command_line):
    """The command line, in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        if arguments[:1] == ("train",) and "--from" not in arguments:  # what compiles fast: one layer, equal batches
            quick = {"--model": "logistic", "--batch-size": 40}
            arguments += tuple(word for name in quick if name not in arguments for word in (name, quick[name]))
        if arguments[:1] == ("train",):  # a report takes seconds, and has tests of its own
            arguments += ("--no-report",)
        return command_line(*arguments)

    return run


@pytest.fixture
def refused(adamkit, tmp_path):
    """One line on standard error, and nothing else: returns it."""

    def run(*arguments, code=2):
        before = sorted(tmp_path.rglob("*"))
        ended, out, err = adamkit("train", "--epochs", 1, *arguments)
        assert (ended, out) == (code, "")
        assert err.startswith("adamkit: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        after = sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in str(path))
        assert after == before
        return err

    return run


def write(name, text):
    Path(name).write_text(text)
    return name


def small_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((40, 3)).round(3), columns=["a", "b", "c"])
    table["y"] = (table.a > table.b).astype(int)
    table.to_csv("small.csv", index=False)
    return "small.csv", "--target", "y"


def test_a_run_shows_each_epoch_and_leaves_its_folder(adamkit):
    code, out, err = adamkit("train", "--epochs", 3, "--out", "a/run", "--data", *small_table())
    assert (code, err) == (0, "")
    lines = out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3"]
    assert all("loss " in line and "accuracy " in line for line in epochs)
    assert any("standardized" in line for line in lines)
    assert tree("a/run") == FILES
    history = RunFolder.open("a/run").read_history()
    assert list(history.columns) == ["epoch", "loss", "accuracy", "seconds"]
    assert history.epoch.tolist() == [1, 2, 3]
    record = json.loads(Path("a/run/run.json").read_text())
    assert record["status"] == "done"
    assert record["settings"]["data"] == str(Path("small.csv").resolve())
    model = keras.models.load_model("a/run/model.keras")
    assert int(model.optimizer.iterations.value) == 3


def test_json_is_one_object_an_epoch_with_the_numbers_of_the_history(adamkit):
    code, out, _ = adamkit("train", "--epochs", 2, "--json", "--validation-split", 0.2, "--out", "run")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), RunFolder.open("run").read_history())


def test_a_default_folder_is_a_new_one_each_time(adamkit):
    for _ in range(2):
        assert adamkit("train", "--epochs", 1)[0] == 0
    assert len(tree("runs")) == 2


def test_a_loss_that_is_not_finite_is_said_in_its_row_and_at_the_end(adamkit):
    code, out, err = adamkit("train", "--data", "diabetes", "--epochs", 2, "--learning-rate", 1e30, "--out", "run")
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("epoch")]
    assert len(rows) == 2
    assert all(line.endswith("not finite") for line in rows)
    assert err.startswith("adamkit: warning: the loss or a metric is not finite in 2 of 2 epochs, first in epoch 1")
    assert tree("run") == FILES


def test_json_has_null_for_what_is_not_finite(adamkit):
    small_table()
    code, out, _ = adamkit(
        *("train", "--data", "small.csv", "--target", "c", "--epochs", 2, "--learning-rate", 1e38, "--json")
    )
    assert code == 0
    assert json.loads(out.splitlines()[-1])["loss"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--beta-1", "1"], "--beta-1 must be a finite number >= 0 and < 1. Received: --beta-1=1.0"),
        (["--beta-2", "-0.1"], "--beta-2 must be"),
        (["--learning-rate", "nan"], "--learning-rate must be"),
        (["--learning-rate", "-1"], "--learning-rate must be"),
        (["--learning-rate", "fast"], "'--learning-rate'"),
        (["--epsilon", "inf"], "--epsilon must be"),
        (["--weight-decay", "-1"], "--weight-decay must be"),
        (["--validation-split", "1"], "--validation-split must be"),
        (["--validation-split", "0.9999"], "leaves 0 of the 1000 rows"),
        (["--batch-size", "0"], "--batch-size must be a whole number >= 1"),
        (["--batch-size", "1.5"], "'--batch-size'"),
        (["--epochs", "0"], "--epochs must be"),
        (["--epochs"], "--epochs"),
        (["--seed", "-1"], "--seed must be"),
        (["--moment-dtype", "int4"], "--moment-dtype must be one of 'float32', 'bfloat16'"),
        (["--backend", "jx"], "Did you mean 'jax'?"),
        (["--lerning-rate", "1"], "--learning-rate"),
        (["more"], "more"),
        (["--data", "digit"], "Did you mean 'digits'?"),
        (["--data", ""], "--data must be a name. Received: --data=''"),
        (["--loss", ""], "--loss must be a name"),
        (["--data", "absent.csv", "--target", "y"], "there is no file absent.csv"),
        (["--data", "absent:rows"], "there is no module 'absent'"),
        (["--data", "absent.py:rows"], "absent.py does not exist"),
        (["--target", "y"], "'random' is no such file"),
        (["--model", "mpl"], "Did you mean 'mlp'?"),
        (["--model", "absent.keras"], "there is no file absent.keras"),
        (["--model", "cnn"], "needs images"),
        (["--loss", "categorical_crossentropy"], "does not fit a target of 2 classes"),
        (["--data", "diabetes", "--loss", "binary_crossentropy"], "does not fit a target that is a number"),
        (["--loss", "msee"], "unknown loss 'msee'"),
        (["--metrics", "acuracy"], "Did you mean 'accuracy'?"),
        (["--data", "diabetes", "--metrics", "accuracy"], "does not fit"),
        (["--from", "."], "must hold a file run.json"),
    ],
)
def test_wrong_options(refused, arguments, said):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,y\n", "has no rows"),
        ("a,x\n1,2\n3,4\n", "has no column 'y'"),
        ("a,y\n1,0\ntwo,1\n", "'two' in row 2"),
        ("a,y\n1,1\n2,1\n", "the same value in every row"),
        ("a,y\n1,0\n2,\n3,1\n", "missing"),
    ],
)
def test_wrong_files(refused, text, said):
    assert said in refused("--data", write("t.csv", text), "--target", "y")


def test_a_missing_value_is_wrong_where_columns_are_used_as_they_stand(refused):
    assert "missing" in refused("--data", write("t.csv", "a,y\n1,0\n,1\n"), "--target", "y", "--no-encode")


def test_a_user_error_is_one_line_with_its_place(refused):
    write("mine.py", "import keras\n\ndef model():\n    raise RuntimeError('no\\nway')\n")
    assert "RuntimeError: no way (mine.py, line 4)" in refused("--model", "mine.py:model")


def test_a_model_that_fails_in_training_leaves_nothing(adamkit):
    write(
        "mine.py",
        "import keras\n\nclass Odd(keras.layers.Layer):\n    def call(self, x, training=False):\n"
        "        if training:\n            raise RuntimeError('not like this')\n        return x\n\n"
        "def model():\n"
        "    return keras.Sequential([keras.Input((20,)), Odd(), keras.layers.Dense(1, activation='sigmoid')])\n",
    )
    code, _, err = adamkit("train", "--model", "mine.py:model", "--out", "a/run")
    assert code == 2
    assert err.startswith("adamkit: the model mine.py:model could not be trained: ")
    assert "not like this" in err
    assert err.count("\n") == 1
    assert not Path("a").exists()


@pytest.mark.parametrize("out", ["file", "file/below", "full", "/proc/adamkit"])
def test_an_output_folder_that_cannot_be(refused, out):
    write("file", "")
    Path("full").mkdir()
    write("full/notes.txt", "mine")
    assert repr(out) in refused("--out", out)


def test_an_empty_output_folder_is_taken_and_stays_when_the_run_fails(refused, adamkit):
    Path("empty").mkdir()
    refused("--out", "empty", "--data", "digit")
    assert adamkit("train", "--epochs", 1, "--out", "empty")[0] == 0
    assert tree("empty") == FILES


def test_a_backend_that_is_not_installed(refused, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'adamkit[torch]'" in refused("--backend", "torch")


def test_a_disk_that_is_full_from_the_start(adamkit, monkeypatch):
    monkeypatch.setattr(RunFolder, "write_record", full_disk)
    code, _, err = adamkit("train", "--epochs", 2, "--out", "run")
    assert (code, err) == (1, "adamkit: No space left on device\n")
    assert not Path("run").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("h5py: can't write")])
def test_a_disk_that_is_too_small_for_the_model(adamkit, monkeypatch, error):
    def save(self, path, **options):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(keras.Model, "save", save)
    code, _, err = adamkit("train", "--epochs", 2, "--out", "run")
    assert code == 1
    assert "model.keras" in err
    assert "Kept: run.json, history.parquet" in err
    assert err.count("\n") == 1
    assert tree("run") == ["checkpoints", "history.parquet", "run.json"]
    assert RunFolder.open("run").read_record()["status"] == "done"


def test_a_disk_that_is_full_for_a_while_loses_nothing(adamkit, monkeypatch):
    write_history = RunFolder.write_history
    attempts = []

    def sometimes(self, history):
        attempts.append(len(history))
        if len(attempts) == 1:
            full_disk()
        write_history(self, history)

    monkeypatch.setattr(RunFolder, "write_history", sometimes)
    assert adamkit("train", "--epochs", 3, "--out", "run")[0] == 0
    assert len(RunFolder.open("run").read_history()) == 3


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_memory_that_does_not_suffice(adamkit, monkeypatch):
    def train(*_, **options):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    monkeypatch.setattr(lab_module, "train", train)
    code, _, err = adamkit("train", "--out", "run")
    assert code == 1
    assert err.startswith("adamkit: out of memory")
    assert not Path("run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_after_the_epoch_with_everything_saved(adamkit, monkeypatch, number):
    show = Display.show

    def show_and_signal(self, row):
        show(self, row)
        if row["epoch"] == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(Display, "show", show_and_signal)
    code, out, _ = adamkit("train", "--epochs", 100000, "--out", "run")
    assert code == 130
    epochs = sum(line.startswith("epoch") for line in out.splitlines())
    assert 2 <= epochs <= 5
    assert f"ended  {epochs} of 100000 epochs" in out
    record = RunFolder.open("run").read_record()
    assert (record["status"], record["epochs_done"]) == ("interrupted", epochs)
    assert len(RunFolder.open("run").read_history()) == epochs
    assert tree("run") == FILES


def test_a_signal_before_the_first_epoch_leaves_nothing(adamkit, monkeypatch):
    def train(*_, **options):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(lab_module, "train", train)
    assert adamkit("train", "--out", "a/run")[0] == 130
    assert not Path("a").exists()


def test_two_signals_end_the_run_at_once_with_its_history(adamkit, monkeypatch):
    def show(self, row):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Display, "show", show)
    assert adamkit("train", "--epochs", 100000, "--out", "run")[0] == 130
    assert RunFolder.open("run").read_record()["status"] == "interrupted"
    assert tree("run") == ["checkpoints", "history.parquet", "run.json"]


def test_from_repeats_a_run_to_the_same_bits(adamkit, tmp_path, monkeypatch):
    write("mine.py", MODEL_WITH_DROPOUT)
    options = ("--model", "mine.py:model", "--validation-split", 0.5, "--batch-size", 20, "--seed", 3, "--epochs", 3)
    assert adamkit("train", "--data", *small_table(), *options, "--out", "first")[0] == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, out, err = adamkit("train", "--from", "../first", "--out", "second")
    assert (code, err) == (0, "")
    assert "same   every loss and metric, to the bit, as in ../first" in out
    assert_same_bits("../first", "second")


def test_from_with_an_option_changes_that_alone(adamkit):
    adamkit("train", "--epochs", 1, "--seed", 3, "--metrics", "auc,mse", "--out", "first")
    code, out, _ = adamkit("train", "--from", "first", "--epochs", 2, "--out", "second")
    assert code == 0
    assert "same" not in out
    before, now = (RunFolder.open(name).read_record()["settings"] for name in ("first", "second"))
    assert now == before | {"epochs": 2}
    first, second = (RunFolder.open(name).read_history().drop(columns="seconds") for name in ("first", "second"))
    pd.testing.assert_frame_equal(first, second[:1])


def test_from_says_why_the_result_differs(adamkit):
    file, *target = small_table()
    adamkit("train", "--data", file, *target, "--epochs", 2, "--out", "first")
    record = json.loads(Path("first/run.json").read_text())
    record["versions"]["keras"] = "3.0.0"
    record["status"] = "interrupted"
    write("first/run.json", json.dumps(record))
    lines = Path(file).read_text().splitlines()
    write(file, "\n".join([*lines[:-1], lines[-1].replace(lines[-1].split(",")[0], "9", 1)]))
    code, _, err = adamkit("train", "--from", "first", "--out", "second")
    assert code == 0
    assert f"keras is {keras.__version__} and was 3.0.0" in err
    assert "the data differ" in err
    assert "'interrupted'" in err
    assert "differ from those of first from epoch 1 on" in err


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"settings": 3}', '{"settings": {"colour": 3}}', '{"settings": {"epochs": "3"}}'),
        *('{"settings": {"data": 3}}', '{"settings": {"metrics": 3}}', '{"settings": {"metrics": [3]}}'),
        *('{"settings": {"learning_rate": null}}', '{"settings": {"backend": null}}'),
    ],
)
def test_from_a_damaged_record(refused, text):
    Path("run").mkdir()
    write("run/run.json", text)
    refused("--from", "run")


def test_from_a_record_without_the_rest(adamkit):
    Path("run").mkdir()
    write("run/run.json", '{"settings": {"epochs": 1}, "data": [], "versions": 3}')
    code, _, err = adamkit("train", "--from", "run")
    assert code == 0
    assert err.splitlines()[-1].startswith("adamkit: warning: nothing to compare this run with: run/history.parquet")


def test_a_keras_file_gives_its_weights_and_not_its_loss(adamkit):
    adamkit("train", "--epochs", 20, "--out", "first", "--loss", "mse")
    code, out, _ = adamkit("train", "--epochs", 1, "--model", "first/model.keras", "--out", "second")
    assert code == 0
    assert "loss binary_crossentropy" in out
    model = keras.models.load_model("second/model.keras")
    assert int(model.optimizer.iterations.value) == 1000 / 40
    record = RunFolder.open("second").read_record()
    assert record["settings"]["model"] == str(Path("first/model.keras").resolve())
    assert record["model"]["fingerprint"]


def test_a_batch_larger_than_the_data_is_one_step(adamkit):
    assert adamkit("train", "--epochs", 2, "--batch-size", 5000, "--out", "run")[0] == 0
    assert int(keras.models.load_model("run/model.keras").optimizer.iterations.value) == 2


def test_without_metrics(adamkit):
    code, _, _ = adamkit("train", "--epochs", 1, "--metrics", "", "--out", "run")
    assert code == 0
    assert list(RunFolder.open("run").read_history().columns) == ["epoch", "loss", "seconds"]


def test_names_with_brackets_are_shown_as_they_are(adamkit):
    Path(small_table()[0]).rename("data[red].csv")
    assert "data[red].csv" in adamkit("train", "--epochs", 1, "--data", "data[red].csv", "--target", "y")[1]


def test_version_and_help(adamkit):
    assert adamkit("--version")[:2] == (0, "adamkit 0.1.0\n")
    code, out, err = adamkit("train", "--help")
    assert (code, err) == (0, "")
    assert "--learning-rate" in out
    code, out, err = adamkit()
    assert code == 2
    assert "train" in out + err
    assert "adamkit: \n" not in err
    assert "Did you mean 'train'" in adamkit("trian")[2]


MODEL_WITH_DROPOUT = """
import keras

def model(dataset):
    layers = keras.layers
    return keras.Sequential([
        keras.Input(dataset.row_shape), layers.Dense(8, activation="relu"), layers.BatchNormalization(),
        layers.Dropout(0.5), layers.Dense(1, activation="sigmoid"),
    ])
"""
