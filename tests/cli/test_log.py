"""`--log` sends a run to tools, besides what is in its folder."""

import sys

import pytest

pytestmark = pytest.mark.slow  # seconds, all in all

QUICK = "--model", "logistic", "--batch-size", 40, "--epochs", 2, "--no-report"
EVENTS = "events.out.tfevents.*"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_tensorboard_finds_a_training_in_its_folder_also_afterwards(command_line, tmp_path):
    code, out, err = command_line("train", *QUICK, "--out", "run", "--log", "tensorboard")
    assert (code, err) == (0, "")
    assert f"logged TensorBoard: tensorboard --logdir {tmp_path}, run run\n" in out
    (before,) = tmp_path.rglob(EVENTS)
    assert before.parent.name == "run"
    size = before.stat().st_size
    code, _, err = command_line("train", "--resume", "run", "--no-report", "--log", "tensorboard")  # there is none left
    assert (code, err) == (0, "")
    (after,) = tmp_path.rglob(EVENTS)
    assert after != before
    assert after.stat().st_size == size


def test_a_sweep_goes_where_it_can_and_what_is_missing_is_said(command_line, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    rates = "--learning-rate", "0.1,1"
    code, out, err = command_line("sweep", *QUICK, *rates, "--out", "run", "--log", "wandb,tensorboard")
    assert code == 0
    assert err.splitlines() == [
        "adamkit: warning: nothing goes to WandB, which is not installed; install it with: pip install 'adamkit[wandb]'"
    ]
    assert "logged TensorBoard: " in out
    assert sorted(file.parent.name for file in tmp_path.rglob(EVENTS)) == [
        "run",
        "setting 0 seed 0",
        "setting 1 seed 0",
    ]


@pytest.mark.parametrize("command", ["train", "sweep", "compare"])
def test_an_unknown_tool_is_named_before_anything_is_made(command_line, tmp_path, command):
    code, out, err = command_line(command, "--log", "tensorbord")
    assert (code, out) == (2, "")
    assert err == (
        "adamkit: --log must be among tensorboard, mlflow, wandb. Received: --log='tensorbord'. "
        "Did you mean 'tensorboard'?\n"
    )
    assert list(tmp_path.iterdir()) == []
