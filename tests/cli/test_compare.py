"""`adamkit compare` from end to end on few rows, and what it leaves."""

import json
import os
import re
import signal
from pathlib import Path

import pandas as pd
import pytest

from adamkit.cli.compare import _plan
from adamkit.lab.comparing import tuning
from adamkit.lab.comparing.audited import Audit
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.insight.charts import comparison as charts
from tests import processes

pytestmark = pytest.mark.slow  # they compile

QUICK = [
    "--data",
    "wine",
    "--model",
    "logistic",
    "--budget",
    "4",
    "--epochs",
    "2",
    "--seeds",
    "2",
    "--batch-size",
    "64",
]


@pytest.fixture
def adamkit(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return command_line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison that several tests look at, made by the command itself."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    options = ["--optimizers", "sgd,momentum", "--label-noise", "0.1", "--train-size", "64", "--out", str(folder)]
    environment = os.environ | {"COLUMNS": "40", "NO_COLOR": "1"}
    done = processes.run("-m", "adamkit", "compare", *QUICK, *options, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_what_it_prints_and_leaves(finished):
    folder, done = finished
    *rows, last = map(json.loads, done.stdout.splitlines())
    summary = pd.read_csv(folder / "summary.csv")
    assert [row["optimizer"] for row in rows] == summary.optimizer.tolist()
    assert {row["optimizer"] for row in rows} == {"sgd", "momentum"}
    assert rows[0]["expected_best_4"] == pytest.approx(rows[0]["test_loss"])
    loaded = Comparison.load(folder)
    assert last["verdict"] == loaded.verdict
    assert set(loaded.history.optimizer) == {"sgd", "momentum"}
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    assert record["command"].startswith("adamkit compare --")
    assert record["data"]["rows"] == 64
    assert loaded.described["rows"] == [64, record["data"]["validation_rows"], record["data"]["test_rows"]]
    page = (folder / "report.html").read_text()
    assert loaded.verdict[0].split(":")[0] in page
    assert "--label-noise 0.1" in page


def test_lines_fit_a_narrow_terminal(finished):
    _, done = finished
    shown = done.stderr.splitlines()
    tables = shown[next(i for i, line in enumerate(shown) if line.startswith("best")) :]
    tables = [line for line in tables if not line.startswith(("saved", "report"))]
    assert max(map(len, tables)) <= 40
    assert any("diverged" in line for line in tables)


def test_every_chart_is_drawn(finished, tmp_path):
    folder, _ = finished
    drawn = charts.charts_of(Comparison.load(folder))
    assert set(drawn) == {"budget", "learning_rates", "curves", "gap", "chances"}
    for name, chart in drawn.items():
        chart.save(str(tmp_path / f"{name}.svg"))
        text = (tmp_path / f"{name}.svg").read_text()
        assert "momentum" in text
        assert "NaN" not in text


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(adamkit, monkeypatch):
    tune, calls = tuning.Tuning._tune, []

    def one_then_ctrl_c(self, optimizer):
        calls.append(optimizer.name)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
            self.interrupted = True
        return tune(self, optimizer)

    monkeypatch.setattr(tuning, "_THREADS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(tuning.Tuning, "_tune", one_then_ctrl_c)
        code, out, _ = adamkit("compare", *QUICK, "--optimizers", "sgd,momentum", "--out", "run")
    assert code == 130
    assert "next   adamkit compare --resume run" in out
    assert json.loads(Path("run/run.json").read_text())["status"] == "interrupted"
    partly = Comparison.load("run")
    assert partly.optimizers == ["sgd"]
    assert "The comparison was interrupted" in partly.verdict[-1]
    code, out, _ = adamkit("compare", "--resume", "run")
    assert code == 0
    whole = Comparison.load("run")
    assert whole.optimizers == ["sgd", "momentum"]
    sgd = whole.runs[whole.runs.optimizer == "sgd"].dropna(axis=1)
    pd.testing.assert_frame_equal(sgd, partly.runs.dropna(axis=1), check_exact=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizers", "adam,mometum"], "optimizers must be of .*Did you mean 'momentum'?"),
        (["--budget", "0"], "--budget must be a whole number >= 1 and < 2³¹. Received: --budget=0"),
        (["--test-split", "0"], "--test-split must be > 0 and < 1"),
        (["--train-size", "100000"], "--train-size must be from 1 to"),
        (["--label-noise", "2"], "--label-noise must be from 0 to 1"),
        (["--data", "diabetes", "--label-noise", "0.5"], "label.noise must be 0 for a number to predict"),
        (["--objective", "loss"], "--objective must be of the validation part"),
        (["--resume", "here", "--budget", "3"], "--resume must be given without --budget"),
        (["--resume", "nowhere"], "a run folder must hold a file run.json"),
    ],
)
def test_bad_input_exits_with_2_and_leaves_nothing(adamkit, options, message, tmp_path):
    code, _, error = adamkit("compare", *options)
    assert code == 2
    assert re.search(message, error), error
    assert len(error.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_a_folder_of_another_kind_is_refused(adamkit, finished):
    folder, _ = finished
    code, _, error = adamkit("sweep", "--resume", folder)
    assert code == 2
    assert "must be the folder of a sweep" in error
    code, _, error = adamkit("train", "--from", folder)
    assert code == 2
    assert "is that of a comparison" in error


AUDIT = ["--audit", *QUICK, "--optimizers", "adam,auto"]


def test_an_audit_is_taken_up_again_and_says_where_the_untuned_stand(adamkit, monkeypatch):
    audit = tuning.Tuning._audit

    def grid_then_ctrl_c(self, optimizer):
        if optimizer.name != tuning.GRID:
            self.interrupted = True
        return audit(self, optimizer)

    monkeypatch.setattr(tuning, "_THREADS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(tuning.Tuning, "_audit", grid_then_ctrl_c)
        code, out, _ = adamkit("compare", *AUDIT, "--out", "run", "--no-report")
    assert code == 130
    assert "next   adamkit compare --resume run" in out
    code, out, error = adamkit("compare", "--resume", "run", "--json")
    assert code == 0, error
    *rows, last = map(json.loads, out.splitlines())
    assert {row["optimizer"] for row in rows} == {"adam", "auto", "tuned adam"}
    assert all(len(row["percentiles"]) == 2 and 0 <= row["percentile"] <= 100 for row in rows)
    loaded = Audit.load("run")
    assert last["verdict"] == loaded.verdict
    assert "untuned, among 4 settings of adam" in error
    page = Path("run/report.html").read_text()
    assert loaded.verdict[0] in page
    assert "What not tuning costs: logistic on wine" in page
    code, out, _ = adamkit("runs", ".")
    assert "compare" in out


@pytest.mark.parametrize("options", [["--check"], ["--goal", "0.5"]])
def test_an_audit_takes_no_option_of_tuned_optimizers(adamkit, options, tmp_path):
    code, _, error = adamkit("compare", *AUDIT, *options)
    assert code == 2
    assert f"{options[0]} must be left out of an audit" in error
    assert not any(tmp_path.iterdir())


def test_an_audit_has_256_settings_and_adam_schedule_free_and_auto_by_default():
    plan = _plan({"data": "wine", "audit": True})
    assert (plan.budget, plan.optimizers) == (256, ["adam", "schedule-free", "auto"])
    assert _plan({"audit": True, "budget": 8, "optimizers": "sgd"}).budget == 8
    assert _plan({}).budget == 32
