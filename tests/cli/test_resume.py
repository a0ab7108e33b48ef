"""`adamkit train --resume`: a run that was stopped, in whatever way, ends as one that never was."""

import json
import signal
from pathlib import Path

import pytest

from adamkit.cli.display import Display
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.training import checkpoints
from tests.cli.folders import assert_same_bits, tree
from tests.cli.test_train import MODEL_WITH_DROPOUT, small_table, write

pytestmark = pytest.mark.slow  # seconds, all in all

DROPOUT = ("--model", "mine.py:model", "--validation-split", 0.5, "--batch-size", 20, "--seed", 3)
QUICK = ("--model", "logistic", "--batch-size", 40)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("mine.py", MODEL_WITH_DROPOUT)
    small_table()


@pytest.fixture
def train(command_line):
    def run(*arguments):
        return command_line("train", *arguments, "--no-report")

    return run


def begin(train, *more):
    return train("--data", "small.csv", "--target", "y", *(more if "--model" in more else (*QUICK, *more)))


def stopping_after(epoch, stop):
    show = Display.show

    def show_and_stop(self, row):
        show(self, row)
        if row["epoch"] == epoch:
            stop()

    return show_and_stop


def test_a_run_that_was_stopped_ends_as_one_that_never_was(train, monkeypatch):
    assert begin(train, *DROPOUT, "--epochs", 9, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Display, "show", stopping_after(3, lambda: signal.raise_signal(signal.SIGINT)))
        assert begin(train, *DROPOUT, "--epochs", 6, "--out", "run")[0] == 130
    record = RunFolder.open("run").read_record()
    assert (record["status"], record["reason"]) == ("interrupted", "asked to stop, by Ctrl-C or a signal")
    assert 3 <= record["epochs_done"] < 6
    code, out, err = train("--resume", "run")
    assert (code, err) == (0, "")
    epochs = [line.split()[1] for line in out.splitlines() if line.startswith("epoch")]
    assert epochs == [f"{epoch}/6" for epoch in range(record["epochs_done"] + 1, 7)]
    assert f"done   6 epochs, {len(epochs)} of them now" in out
    assert RunFolder.open("run").read_record()["status"] == "done"
    # And beyond the last epoch.
    code, out, _ = train("--resume", "run", "--epochs", 9)
    assert code == 0
    assert_same_bits("whole", "run")
    assert record_of("run")["state"] == record_of("whole")["state"]
    assert record_of("run")["settings"]["epochs"] == record_of("run")["epochs_done"] == 9
    assert tree("run") == tree("whole")


def record_of(folder):
    return json.loads(Path(folder, "run.json").read_text())


@pytest.fixture
def stopped(train):
    assert begin(train, "--epochs", 2, "--out", "run")[0] == 0
    return "run"


def test_what_cannot_be_gone_on_with(train, stopped):
    def refused(*arguments):
        before = {path: path.read_bytes() for path in Path(stopped).rglob("*") if path.is_file()}
        code, _out, err = train(*arguments)
        assert code == 2
        assert {path: path.read_bytes() for path in Path(stopped).rglob("*") if path.is_file()} == before
        return err

    assert "--resume must be given without --learning-rate" in refused("--resume", stopped, "--learning-rate", 0.1)
    assert "--resume must be given without --out" in refused("--resume", stopped, "--out", "other")
    assert "must be given, not several" in refused("--resume", stopped, "--from", stopped)
    assert "epochs must be >= 2, which are done. Received: epochs=1" in refused("--resume", stopped, "--epochs", 1)
    write("small.csv", Path("small.csv").read_text().replace(",1\n", ",0\n", 1))
    assert "have changed" in refused("--resume", stopped) or "are others" in refused("--resume", stopped)


def test_a_run_that_failed_says_why_and_goes_on(train, monkeypatch):
    def fail():
        raise RuntimeError("the plug was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(Display, "show", stopping_after(2, fail))
        with pytest.raises(RuntimeError, match="plug"):  # a bug of adamkit's, which needs its traceback
            begin(train, "--epochs", 4, "--checkpoint-every", 1, "--out", "run")
    record = record_of("run")
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: the plug was pulled")
    code, _out, err = train("--resume", "run", "--epochs", 4)
    assert (code, err) == (0, "")
    assert record_of("run")["status"] == "done"


def test_damaged_checkpoints_are_passed_over_and_said(train, stopped):
    latest = checkpoints.files(Path(stopped, "checkpoints"))[0]
    latest.write_bytes(b"damaged")
    code, out, err = train("--resume", stopped)
    assert code == 0
    assert "passed over" in err
    assert latest.name in err
    assert "done   2 epochs" in out


def test_a_rate_that_falls_until_the_last_epoch_has_no_further_one(train):
    assert begin(train, "--epochs", 1, "--cosine-alpha", 0.1, "--out", "run")[0] == 0
    code, _, err = train("--resume", "run", "--epochs", 2)
    assert code == 2
    assert "--epochs must be 1 for the run in run, whose learning rate falls until then" in err
