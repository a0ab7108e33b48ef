"""`adamkit runs`: how each run ended, its best figure and the command to go on."""

import json

import numpy as np
import pandas as pd
import pytest

from adamkit.lab.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def leave(name, losses=None, **record):
    folder = RunFolder.create(f"runs/{name}")
    folder.write_record({"settings": {"epochs": 4}} | record)
    if losses:
        table = {"epoch": range(1, len(losses) + 1), "loss": 1.0, "val_loss": losses, "seconds": 0.1}
        folder.write_history(pd.DataFrame(table))


def test_each_run_with_its_end_its_best_and_how_to_go_on(command_line):
    leave("a", [3.0, np.nan, 1.0, 2.0], status="done")
    leave("b run", [3.0, 2.0], status="interrupted", reason="asked to stop, by Ctrl-C or a signal")
    leave("c", status="failed", reason="OSError: No space left on device")
    leave("d", status="done", sweep={}, best={"setting": {}, "objective": 0.25})
    leave("d2", status="running")
    RunFolder.create("runs/e").path.joinpath("run.json").write_text("{")
    RunFolder.create("runs/no run").path.joinpath("other.txt").write_text("")
    code, out, err = command_line("runs", "--json")
    assert (code, err) == (0, "")
    shown = [json.loads(line) for line in out.splitlines()]
    assert [(run["kind"], run["status"]) for run in shown] == [
        ("train", "done"), ("train", "interrupted"), ("train", "failed"), ("sweep", "done"),
        ("train", "killed"), ("?", "damaged"),
    ]  # fmt: skip
    assert [run["best"] and run["best"]["value"] for run in shown] == [1.0, 2.0, None, 0.25, None, None]
    assert [run["command"] for run in shown] == [
        None, "adamkit train --resume 'runs/b run'", "adamkit train --resume runs/c", None,
        "adamkit train --resume runs/d2", None,
    ]  # fmt: skip
    code, out, err = command_line("runs")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["a", "train", "done", "4", "of", "4", "epochs", "val_loss", "1.0000", "in", "epoch", "3"]
    assert "    asked to stop, by Ctrl-C or a signal" in out
    assert "    OSError: No space left on device" in out
    assert "run.json must be JSON" in out


def test_one_run_none_and_no_folder(command_line, tmp_path):
    assert command_line("runs")[0] == 2
    (tmp_path / "runs").mkdir()
    assert command_line("runs") == (0, "no runs in runs\n", "")
    leave("a", [1.0], status="done")
    assert command_line("runs", "runs/a")[1].startswith("a  train  done")
