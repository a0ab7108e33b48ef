"""`adamkit trace` prints, explains, writes and draws what `adamkit.lab.insight.trace` computes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adamkit.lab.insight.landscapes import LANDSCAPES
from adamkit.lab.insight.trace import trace

pytestmark = pytest.mark.slow  # seconds, all in all


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_table_of_gradients(command_line, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = command_line("trace", "--gradients", "0.5,0.5,-1", "--learning-rate", 0.1, "--csv", "t.csv")
    assert (code, err) == (0, "")
    header, titles, *rows, saved = out.splitlines()
    assert header == "Adam   learning_rate 0.1, beta_1 0.9, beta_2 0.999, epsilon 1e-07"
    assert titles.split() == ["t", "g", "m", "v", "m̂", "v̂", "step", "θ"]
    assert rows[2].split() == ["3", "−1", "−0.0145", "0.0014993", "−0.053506", "0.50025", "−0.0075649", "−0.19244"]
    assert saved == "saved  t.csv"
    expected = trace([0.5, 0.5, -1], learning_rate=0.1).history
    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), expected, check_exact=True)


def test_forty_columns_without_colours(command_line, monkeypatch):
    for name, value in (("COLUMNS", "40"), ("FORCE_COLOR", "1"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)  # a terminal, but a small and plain one
    for arguments in ((), ("--step", 3)):
        code, out, _ = command_line("trace", "--gradients", "0.5,0.5,-1", *arguments)
        assert code == 0
        assert max(map(len, out.splitlines()[1:])) <= 40
        assert "\x1b[3" not in out  # no colour
        assert "−0.05350" in out


def test_a_function_and_a_step_of_it_in_full(command_line):
    code, out, _ = command_line("trace", "ravine", "--start", "1,2", "--steps", 3, "--step", 2, "--beta-1", 0.5)
    assert code == 0
    assert "f(x, y) = (x² + 50·y²) / 2" in out
    assert "step 2 of x" in out
    assert "step 2 of y" in out
    known = LANDSCAPES["ravine"]
    traced = trace(lambda p: known.gradient(*p), [1, 2], steps=3, learning_rate=0.1, beta_1=0.5, weights=("x", "y"))
    for weight in range(2):
        for _, lines in traced.explained(2, weight):
            assert all(line in out for line in lines)


def test_a_plot_beside_the_others(command_line):
    code, out, _ = command_line("trace", "quadratic", "--steps", 15, "--plot", "path.svg", "--csv", "path.csv")
    assert code == 0
    for name in ("Adam", "SGD", "momentum", "AdaGrad", "RMSProp"):
        assert f"\n{name} " in out
        assert f">{name} " in Path("path.svg").read_text()
    history = pd.read_csv("path.csv")
    assert len(history) == 30
    last = history[history.t == 15].theta.to_numpy()
    shown = next(line for line in out.splitlines() if line.startswith("Adam  ") and "learning_rate" not in line)
    np.testing.assert_allclose([float(word) for word in shown.split()[2:4]], last, rtol=1e-3)


def test_one_weight_of_a_run(command_line, no_report):
    train = ("train", "--data", "wine", "--model", "logistic", "--batch-size", 89, "--epochs", 2)
    assert command_line(*train, "--out", "run", "--no-report")[0] == 0
    code, out, _ = command_line(
        "trace", "run", "--weight", "dense/bias[2]", "--steps", 3, "--csv", "w.csv", "--plot", "w.svg"
    )
    assert code == 0
    name, again, header, _, *rows = out.splitlines()[:7]
    assert name == "sequential/dense/bias[2] of run, 3 of 4 steps"
    assert again == "the first 2 epochs trained again, to the same bits as the run"
    assert header.startswith("Adam   learning_rate 0.001")
    table = pd.read_csv("w.csv")
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    np.testing.assert_allclose([float(row.split()[-1].replace("−", "-")) for row in rows], table.theta, rtol=1e-4)
    assert "sequential/dense/bias[2] over 3 steps" in Path("w.svg").read_text()
    code, out, _ = command_line("trace", "run", "--weight", "dense/bias[2]", "--step", 2)
    assert "step 2\n" in out
    assert "m = β₁·m + (1 − β₁)·g" in out
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(record | {"sweep": {}}))
    for arguments, said in (
        (["--weight", "dense/bias[2]"], "run must be the folder of a training run, and is that of a sweep"),
        (["--weight", "dense/bias[2]", "--beta-1", "0.5"], "one of a run and --beta-1 must be given, not both"),
    ):
        code, out, err = command_line("trace", "run", *arguments)
        assert (code, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gradients", "1,fast"], "--gradients must be numbers with commas between them. Received: 'fast'"),
        (["--gradients", "1,nan"], "gradients must be finite numbers"),
        (["--gradients", ""], "--gradients must be numbers"),
        (["rosenbroc"], "unknown function 'rosenbroc'. Did you mean 'rosenbrock'?"),
        (["ravine", "--gradients", "1"], "one of a function and --gradients must be given, not both"),
        (["ravine", "--start", "1"], "--start must be 2 numbers: x,y. Received: 1"),
        (["ravine", "--steps", "0"], "--steps must be a whole number >= 1"),
        (["ravine", "--step", "99"], "--step must be one of the 50 steps"),
        (["--beta-1", "1"], "--beta-1 must be"),
        (["--steps", "3"], "--steps must come with a function"),
        (["--plot", "a.png"], "--plot must come with a function"),
        (["--weight", "dense/bias[2]"], "--weight must come with the folder of a run"),
        (["nowhere", "--weight", "dense/bias[2]"], "a run folder must hold a file run.json. Received: 'nowhere'"),
        (["ravine", "--plot", "a.gif"], "--plot must end in .html, .png, .svg. Received: a.gif"),
        (["ravine", "--csv", "nowhere/a.csv"], "--csv must be a file in a folder that is there"),
    ],
)
def test_wrong_input_is_one_line(command_line, arguments, said):
    code, out, err = command_line("trace", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not list(Path().iterdir())
