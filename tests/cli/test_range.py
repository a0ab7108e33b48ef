import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping import learning_rate_range as lab
from tests.cli.folders import tree

QUICK = "range", "--model", "logistic", "--data", "breast_cancer", "--steps", 60


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_it_suggests_a_rate_and_leaves_its_folder(command_line):
    code, out, err = command_line(*QUICK, "--out", "run")
    assert (code, err) == (0, "")
    assert tree("run") == ["history.csv", "history.parquet", "report.html", "run.json"]
    history = RunFolder.open("run").read_history()
    np.testing.assert_allclose(pd.read_csv("run/history.csv"), history)
    found = RunFolder.open("run").read_record()["range"]
    assert found["smallest"] == history.learning_rate[history.smoothed.idxmin()]
    assert f"try    {found['suggested']:.2g}," in out
    assert f"{found['suggested']:.2g}" in out.partition("saved  run")[0]
    assert sum("█" in line for line in out.splitlines()) >= 4


def test_json_is_one_object(command_line):
    code, out, err = command_line(*QUICK, "--json", "--out", "run")
    assert code == 0
    assert "data   breast_cancer" in err
    found = json.loads(out)
    assert found["folder"] == "run"
    assert found["steps"] == len(RunFolder.open("run").read_history())
    assert found["suggested"] == pytest.approx(found["smallest"] / 10)


def test_no_suggestion_is_a_warning(command_line):
    code, out, err = command_line(*QUICK, "--to", 1e-6, "--out", "run")
    assert code == 0
    assert "try " not in out
    assert err.startswith("adamkit: warning: the loss falls by no more than its noise")
    assert RunFolder.open("run").read_record()["range"]["suggested"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "0"], "0 < low < high. Received: --from=0.0"),
        (["--from", "1", "--to", "0.1"], "Received: --from=1.0, --to=0.1"),
        (["--to", "nan"], "--to must be"),
        (["--steps", "3"], "--steps must be a whole number >= 10"),
        (["--beta-1", "1"], "--beta-1 must be"),
        (["--data", "digit"], "Did you mean 'digits'?"),
    ],
)
def test_wrong_options(command_line, tmp_path, arguments, said):
    code, out, err = command_line("range", *arguments, "--out", "run")
    assert (code, out) == (2, "")
    assert err.startswith("adamkit: ")
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_that_fails_in_training_is_one_line(command_line):
    Path("mine.py").write_text(
        "import keras\n\nclass Odd(keras.layers.Layer):\n    def call(self, x, training=False):\n"
        "        if training:\n            raise RuntimeError('not like this')\n        return x\n\n"
        "def model():\n"
        "    return keras.Sequential([keras.Input((20,)), Odd(), keras.layers.Dense(1, activation='sigmoid')])\n"
    )
    code, _, err = command_line("range", "--model", "mine.py:model", "--out", "run")
    assert code == 2
    assert err.startswith("adamkit: the model mine.py:model could not be trained: ")
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_ctrl_c_leaves_nothing(command_line, monkeypatch):
    monkeypatch.setattr(lab, "learning_rate_range", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert command_line(*QUICK, "--out", "a/run")[0] == 130
    assert not Path("a").exists()
