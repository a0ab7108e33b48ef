"""`adamkit verify`: a run that is trained again is the same to the bit, and what is not is found and named."""

import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamkit.cli.display import Display
from adamkit.lab.training import checkpoints
from tests.cli.test_resume import DROPOUT, stopping_after
from tests.cli.test_train import MODEL_WITH_DROPOUT, small_table, write

FOLDER = Path("run/checkpoints")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("mine.py", MODEL_WITH_DROPOUT)
    small_table()


@pytest.fixture
def begun(command_line, monkeypatch):
    """A run that was stopped after epoch 2 or 3 of 6, with a checkpoint of the last two epochs."""
    options = (*DROPOUT, "--data", "small.csv", "--target", "y", "--epochs", 6, "--checkpoint-every", 1, "--no-report")
    with monkeypatch.context() as patch:
        patch.setattr(Display, "show", stopping_after(2, lambda: signal.raise_signal(signal.SIGINT)))
        assert command_line("train", *options, "--out", "run")[0] == 130
    return checkpoints.epoch_of(checkpoints.files(FOLDER)[0])


@pytest.mark.tried(
    "a resume that leaves the random state out",
    "`verify` names the epoch, the layer and the variable",
)
def test_the_same_run_is_the_same_and_one_that_lost_its_random_state_is_found(command_line, begun, monkeypatch):
    code, out, err = command_line("verify", "run")
    assert (code, err) == (0, "")
    assert out.startswith(f"same   the state after each of epochs 1 to {begun}, to the bit\nstate  ")
    assert command_line("verify", "run", "--from-epoch", begun - 1)[0] == 0
    assert command_line("verify", "run", "--from-epoch", begun)[0] == 0
    code, _, err = command_line("verify", "run", "--from-epoch", 99)
    assert code == 2
    assert f"--from-epoch must be an epoch that has a checkpoint: {begun - 1}, {begun}. Received" in err

    restore, lost = checkpoints.restore, []

    def without_random_state(checkpoint, model):
        before = [np.array(variable.value) for variable in checkpoints.variables_of(model)]
        restore(checkpoint, model)
        for variable, value in zip(checkpoints.variables_of(model), before, strict=True):
            if "seed" in variable.path:
                lost.append(variable.path)
                variable.assign(value)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "restore", without_random_state)
        assert command_line("train", "--resume", "run", "--no-report")[0] == 0
    assert lost
    code, out, _ = command_line("verify", "run")
    assert code == 1
    assert out.splitlines()[-3] == f"other  from epoch {begun + 1} on"
    assert re.search(rf"variables dropout\w*/{lost[0]} \(non-trainable\), ", out)
    assert re.search(r"dense\w*/kernel \(trainable\)", out)
    assert "figures   loss" in out


def test_an_altered_checkpoint_is_found_though_its_checksum_fits(command_line, begun):
    latest = checkpoints.read(checkpoints.files(FOLDER)[0])
    history = latest.history.copy()
    history[0, 0] += 1e-6  # a better loss
    replace(latest, history=history).write(FOLDER)
    code, out, _ = command_line("verify", "run")
    assert code == 1
    assert "other  from epoch 1 on" in out
    assert "figures   loss" in out
    weights = [array + 1 if name.startswith("trainable") else array for name, array in
               zip(latest.names, latest.variables, strict=True)]  # fmt: skip
    replace(latest, variables=weights).write(FOLDER)
    code, out, _ = command_line("verify", "run", "--from-epoch", begun)
    assert code == 1
    assert f"other  from epoch {begun} on" in out
    chain = latest.chain.copy()
    chain[0, 0] ^= 1
    replace(latest, chain=chain).write(FOLDER)
    code, out, _ = command_line("verify", "run")
    assert code == 1
    assert "the hashes that were kept are not those of a run" in out


def test_a_run_without_checkpoints(command_line, begun):
    for path in checkpoints.files(FOLDER):
        path.unlink()
    code, _, err = command_line("verify", "run")
    assert code == 2
    assert "run must have checkpoints, and has none" in err
