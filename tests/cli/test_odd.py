"""What the machine, the environment and other libraries come up with is one line, and not a traceback."""

import json
import os
import warnings
from pathlib import Path

import jax
import pytest

from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.insight import reports
from adamkit.lab.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["train", "sweep", "range"])
def test_a_folder_whose_name_is_no_text(command_line, command):
    code, out, err = command_line(command, "--out", os.fsdecode(b"\xff\xfe"))
    assert (code, out) == (2, "")
    assert "the output folder must have a name in UTF-8. Received: " in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "error", [RuntimeError("Unable to initialize backend 'cuda':\nno such device"), AssertionError()]
)
def test_a_device_that_is_not_there(command_line, monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    code, _, err = command_line("train", "--out", "run")
    assert (code, err.count("\n")) == (2, 1)
    assert f"JAX must find a device. Received: JAX_PLATFORMS='cuda', {type(error).__name__}" in err


@pytest.mark.parametrize("name", ["FloatingPointError", "InternalFloatingPointError"])
def test_a_number_at_which_jax_was_told_to_stop(command_line, monkeypatch, name):
    def prepare(settings):
        raise type(name, (Exception,), {})("invalid value (nan) encountered in mul")

    monkeypatch.setattr(runs, "prepare", prepare)
    code, _, err = command_line("train", "--out", "run")
    assert (code, err.count("\n")) == (1, 1)
    assert "JAX was told to stop at a number that is not finite" in err
    assert not Path("run").exists()


@pytest.mark.filterwarnings("default")
def test_a_warning_of_the_lab_is_a_line(command_line, monkeypatch):
    def prepare(settings):
        warnings.warn("the cache is not used", RuntimeWarning, stacklevel=2)
        raise InputError("that is all")

    monkeypatch.setattr(runs, "prepare", prepare)
    err = command_line("train", "--out", "run")[2]
    assert err == "adamkit: warning: the cache is not used\nadamkit: that is all\n"


def test_a_panic_of_what_draws_charts_is_a_warning(command_line, tmp_path, monkeypatch):
    class PanicException(BaseException):
        pass

    def panic():
        raise PanicException("called `Result::unwrap()` on an `Err` value: Too many open files")

    said = []
    assert reports.attempt(panic, tmp_path, said.append) is None
    assert said == [
        "no report was written: PanicException: called `Result::unwrap()` on an `Err` value: Too many open files"
    ]
    monkeypatch.setattr(reports, "page_of", lambda folder: panic())
    (tmp_path / "run.json").write_text('{"settings": {}}')
    assert command_line("report", tmp_path)[::2] == (
        1,
        f"adamkit: no chart could be drawn: {said[0].partition('PanicException: ')[2]}\n",
    )
    with pytest.raises(KeyboardInterrupt):
        reports.attempt(lambda: (_ for _ in ()).throw(KeyboardInterrupt), tmp_path, said.append)


@pytest.mark.usefixtures("no_report")
def test_a_sweep_in_which_all_diverge_has_no_best_setting(command_line):
    quick = "--model", "logistic", "--batch-size", 40, "--epochs", 2, "--data", "diabetes"
    assert command_line("sweep", *quick, "--learning-rate", "1e37,1e38", "--out", "run")[0] == 0
    text = Path("run/run.json").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["best"] is None
    code, out, err = command_line("train", "--best-of", "run", "--out", "best")
    assert (code, out) == (2, "")
    assert err == "adamkit: run has no best setting: every one diverges. Smaller learning rates may help\n"
    before = record | {"best": {"setting": record["sweep"]["space"][0], "objective": float("inf")}}
    Path("run/run.json").write_text(json.dumps(before))  # as it was written once
    assert command_line("train", "--best-of", "run", "--out", "best")[2] == err
    assert RunFolder.open("run").read_record()["best"]["objective"] == float("inf")
