import json
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.cli.display import bars
from adamkit.cli.sweep import _plan
from adamkit.cli.sweep_display import SweepDisplay
from adamkit.lab.errors import InputError
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping import spaces
from adamkit.lab.sweeping.sweeper import Progress
from tests import processes
from tests.cli.folders import tree

pytestmark = pytest.mark.slow  # seconds, all in all

FILES = ["history.parquet", "parts", "report.html", "run.json", "summary.csv"]
QUICK = "--model", "logistic", "--batch-size", 40, "--epochs", 2
RATES = "--learning-rate", "1e-3..1e-1:log:3"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def adamkit(command_line):
    return command_line


@pytest.fixture
def refused(adamkit, tmp_path):
    """One line on standard error, and nothing else: returns it."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        ended, out, err = adamkit(*arguments)
        assert (ended, out) == (2, "")
        assert err.startswith("adamkit: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)) == before
        return err

    return run


def test_a_sweep_shows_what_it_does_and_leaves_its_folder(adamkit):
    code, out, err = adamkit("sweep", *QUICK, *RATES, "--beta-1", "0.8,0.9", "--seeds", 2, "--out", "run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "6 settings × 2 seeds, 2 epochs each" in out
    assert any(line.startswith("12/12 runs") for line in lines)
    assert tree("run") == FILES
    history = RunFolder.open("run").read_history()
    assert len(history) == 6 * 2 * 2
    last = history[history.epoch == 2].groupby("setting").loss.mean()
    at = next(i for i, line in enumerate(lines) if line.startswith("best   6 of 6 settings"))
    assert lines[at + 1].split() == ["setting", "learning_rate", "beta_1", "loss", "spread"]
    shown = [line.split() for line in lines[at + 2 : at + 8]]
    assert [int(row[0]) for row in shown] == last.sort_values(kind="stable").index.tolist()
    assert [float(row[3]) for row in shown] == pytest.approx(sorted(last), abs=1e-4)
    assert any(line.startswith("shows  loss stays within") for line in lines)
    assert lines[-2:] == ["next   adamkit train --best-of run", "report run/report.html"]
    assert "Sweep of 6 settings" in Path("run/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_report")
def test_json_is_one_object_a_setting_with_the_numbers_of_the_summary(adamkit):
    code, out, err = adamkit(
        "sweep", *QUICK, "--json", "--learning-rate", "1e-3,1e38", "--data", "diabetes", "--out", "a"
    )
    assert code == 0
    assert "2/2 runs" in err
    rows = [json.loads(line) for line in out.splitlines()]
    summary = pd.read_csv("a/summary.csv")
    assert list(rows[0]) == list(summary.columns)
    assert rows[0] == summary.to_dict(orient="records")[0]
    assert (rows[1]["mean"], rows[1]["diverged"]) == (None, 1.0)


@given(
    st.dictionaries(
        st.sampled_from(["learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay", "warmup_steps", "batch_size"]),
        st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True),
        max_size=4,
    )
)
def test_the_settings_are_every_combination_and_what_has_one_value_is_fixed(given):
    typed = {
        name: [n if name in ("warmup_steps", "batch_size") else n / 100 for n in numbers]
        for name, numbers in ((name, given[name]) for name in spaces.HYPERPARAMETERS if name in given)
    }
    plan = _plan({name: ",".join(map(str, values)) for name, values in typed.items()}, ask=True)
    varied = {name: values for name, values in typed.items() if len(values) > 1}
    if not varied:
        only = {name: values for name, values in typed.items() if name == "learning_rate"}
        varied = typed if only else {"learning_rate": "1e-5..1e-1:log:32"}
    assert plan.space == spaces.grid(varied)
    for name in typed.keys() - varied.keys():
        assert getattr(plan.settings, name) == typed[name][0]


@given(st.sampled_from(spaces.METHODS), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_draws_are_of_the_whole_range(method, n, seed):
    plan = _plan({method: n, "seed": seed}, ask=True)
    assert plan.space == spaces.draw({"learning_rate": "1e-5..1e-1"}, n, method=method, seed=seed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--learning-rate", ""], "--learning-rate"),
        (["--learning-rate", "1e-1..1e-5:log:3"], "--learning-rate must go from a smaller to a larger value"),
        (["--learning-rate", "1e-3..1e-3:3"], "--learning-rate must go from a smaller to a larger value"),
        (["--learning-rate", "0..1:log:3"], "must begin above 0. Received: --learning-rate=0.0..1.0:log:3"),
        (["--learning-rate", "1e-5..1e-1"], "--learning-rate must have a number of points"),
        (["--learning-rate", "fast"], "--learning-rate must be a finite number"),
        (["--beta-1", "0.9,1"], "--beta-1 must be a finite number >= 0 and < 1. Received: --beta-1=1.0"),
        (["--epsilon", "-1"], "--epsilon must be"),
        (["--amsgrad", "maybe"], "--amsgrad must be true or false"),
        (["--batch-size", "0,32"], "--batch-size must be a whole number >= 1"),
        (["--learning-rte", "1"], "--learning-rate"),
        (["--random", "0"], "--random must be a whole number >= 1"),
        (["--random", "3", "--sobol", "4"], "one of --random and --sobol"),
        (["--seeds", "0"], "--seeds must be a whole number >= 1"),
        (["--halving", "1"], "--halving must be a whole number >= 2"),
        (["--patience", "0"], "--patience must be a whole number >= 1"),
        (["--epochs", "0"], "--epochs must be"),
        (["--objective", "los"], "--objective must be one of loss, accuracy"),
        (["--data", "digit"], "Did you mean 'digits'?"),
        (["--model", "cnn"], "needs images"),
        (["--resume", "absent"], "must hold a file run.json"),
        (["--resume", "absent", "--epochs", "3"], "--resume must be given without --epochs"),
        (["--resume", "absent", "--out", "b"], "--resume must be given without --out"),
    ],
)
def test_wrong_options(refused, arguments, said):
    assert said in refused("sweep", *arguments)


def test_a_large_space_says_how_many_and_how_long(refused):
    many = {"learning_rate": "1e-5..1:log:101", "beta_1": "0..0.9:100"}
    said = refused("sweep", "--model", "logistic", "--learning-rate", many["learning_rate"], "--beta-1", many["beta_1"])
    assert re.search(r"has 10,100 settings, which take about [\d.,]+ \w+ here. Give --yes .* or --random 500", said)
    assert len(_plan(dict(many), ask=False).space) == 10_100
    with pytest.raises(InputError, match=r"1,010,000,000 settings.* Give --random"):
        _plan(many | {"epsilon": "1e-9..1:log:100000", "model": "logistic"}, ask=False)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("return keras.ops.convert_to_tensor(np.asarray(x))", "cannot be trained as a population"),
        ("raise RuntimeError('not\\nlike this')", "not like this"),
    ],
)
def test_a_model_that_cannot_be_mapped(refused, layer, said):
    Path("mine.py").write_text(
        "import keras\nimport numpy as np\n\nclass Odd(keras.layers.Layer):\n    def call(self, x, training=False):\n"
        f"        if training:\n            {layer}\n        return x\n\n"
        "def model():\n"
        "    return keras.Sequential([keras.Input((20,)), Odd(), keras.layers.Dense(1, activation='sigmoid')])\n"
    )
    assert said in refused("sweep", *RATES, "--model", "mine.py:model", "--out", "run")


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_ctrl_c_keeps_what_is_finished_and_resume_does_the_rest(adamkit, monkeypatch):
    sweep = "sweep", *QUICK, *RATES, "--seeds", 6
    assert adamkit(*sweep, "--out", "undisturbed")[0] == 0
    show, shown = SweepDisplay.show, []

    def show_and_signal(self, progress):
        show(self, progress)
        if not shown:
            signal.raise_signal(signal.SIGINT)
        shown.append(progress.done)

    with monkeypatch.context() as patched:
        patched.setattr(SweepDisplay, "show", show_and_signal)
        code, out, _ = adamkit(*sweep, "--out", "run")
    assert code == 130
    record = RunFolder.open("run").read_record()
    assert record["status"] == "interrupted"
    done = RunFolder.open("run").read_history().groupby(["setting", "seed"]).ngroups
    assert 0 < done < 18
    assert f"ended  {done} of 18 runs" in out
    assert out.splitlines()[-1] == "next   adamkit sweep --resume run"

    code, out, err = adamkit("sweep", "--resume", "run")
    assert (code, err) == (0, "")
    pd.testing.assert_frame_equal(
        *(RunFolder.open(name).read_history() for name in ("undisturbed", "run")), check_exact=True
    )
    assert RunFolder.open("run").read_record()["status"] == "done"


def test_ctrl_c_before_anything_is_finished_leaves_nothing(adamkit, monkeypatch):
    monkeypatch.setattr(SweepDisplay, "__enter__", lambda self: signal.raise_signal(signal.SIGINT))
    assert adamkit("sweep", *QUICK, "--out", "a/run")[0] == 130
    assert not Path("a").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_train_best_of_trains_the_best_setting(adamkit, refused):
    fixed = "--validation-split", 0.2, "--data", "breast_cancer", "--amsgrad", "true"
    adamkit("sweep", *QUICK, *RATES, *fixed, "--cosine-alpha", "0,0.5", "--out", "swept")
    best = pd.read_csv("swept/summary.csv").sort_values("mean").iloc[0]
    code, _, err = adamkit("train", "--best-of", "swept", "--out", "best")
    assert (code, err) == (0, "")
    settings = RunFolder.open("best").read_record()["settings"]
    assert (settings["learning_rate"], settings["cosine_alpha"]) == (best.learning_rate, best.cosine_alpha)
    assert (settings["amsgrad"], settings["epochs"]) == (True, 2)
    assert RunFolder.open("best").read_history().val_loss.iloc[-1] == pytest.approx(best["mean"], rel=1e-4)

    adamkit("train", "--best-of", "swept", "--epochs", 1, "--beta-1", 0.5, "--out", "changed")
    assert RunFolder.open("changed").read_record()["settings"] == settings | {"epochs": 1, "beta_1": 0.5}
    assert "--beta-1 must be" in refused("train", "--best-of", "swept", "--beta-1", 1)
    assert "must be the folder of a sweep" in refused("train", "--best-of", "best")
    assert "must be the folder of a sweep" in refused("sweep", "--resume", "best")
    assert "one of --from and --best-of" in refused("train", "--best-of", "swept", "--from", "best")


@given(st.lists(st.floats(0, 1) | st.just(np.nan) | st.just(np.inf), min_size=1, max_size=40), st.integers(1, 6))
def test_bars_are_as_high_as_their_values(values, height):
    values = np.array(values)
    lines = bars(values, 0, 1, height=height)
    assert [len(line) for line in lines] == [len(values)] * height
    columns = ["".join(column) for column in zip(*lines, strict=True)]
    for value, column in zip(values, columns, strict=True):
        assert ("×" in column) == np.isinf(value)
        assert (not column.strip()) == np.isnan(value)
    heights = np.array([sum(" ▁▂▃▄▅▆▇█".index(c) for c in column if c != "×") for column in columns])
    finite = np.isfinite(values)
    np.testing.assert_allclose(heights[finite], 1 + values[finite] * (8 * height - 1), atol=0.5 + 1e-9)


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_sweep_with_what_is_finished():
    """Of so many runs that none is the last, however fast the machine is."""
    many = *map(str, QUICK), "--learning-rate", "0.01,0.1", "--seeds", "100000", "--yes"
    with processes.Process("-m", "adamkit", "sweep", *many, "--out", "run") as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 130, errors
    assert RunFolder.open("run").read_record()["status"] == "interrupted"
    assert len(RunFolder.open("run").read_history())


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.usefixtures("no_report")
def test_the_time_left_follows_the_rate_since_the_first_runs(adamkit):
    adamkit("sweep", *QUICK, *RATES, "--out", "run")
    clock = Clock()
    plan = _plan({"model": "logistic", "learning_rate": "1e-3..1e-1:log:3", "seeds": 40}, ask=True)
    display = SweepDisplay(plan, RunFolder.open("run"), clock=clock)
    summary = pd.read_csv("run/summary.csv")

    def text_after(done, seconds, waited=0.0):
        clock.now = 100.0 + seconds
        display.show(Progress(done, 120, seconds, lambda: summary))
        clock.now += waited
        return display._progress_text()

    assert display._progress_text() == "0/120 runs, 0 µs"
    assert text_after(20, 10.0) == "20/120 runs, 10.0 s with compilation"
    assert text_after(40, 15.0) == "40/120 runs, 4 runs a second, 20.0 s left"
    assert text_after(40, 15.0, waited=5.0) == "40/120 runs, 4 runs a second, 15.0 s left"
    assert text_after(119, 34.75) == "119/120 runs, 4 runs a second, under 1 s left"
    assert text_after(120, 35.0) == "120/120 runs, 4 runs a second"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.usefixtures("no_report")
def test_a_terminal_shows_a_bar_and_a_chart_within_its_width(adamkit, monkeypatch, columns):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    code, out, err = adamkit("sweep", *QUICK, *RATES, "--out", "run")
    assert (code, err) == (0, "")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    assert "━" in shown
    assert "loss over learning_rate" in shown
    drawn = [line for line in re.split(r"[\r\n]+", shown) if re.search("[━█]|^best ", line)]
    assert max(map(len, drawn)) <= columns
