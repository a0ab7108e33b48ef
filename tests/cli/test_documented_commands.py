"""The commands in the documentation run.

The `adamkit` lines of a page's ```sh blocks run in order, as they stand but for fewer epochs, settings and rows. What a
page supposes that its reader has, a table or an earlier run, is made first.
"""

import re
import shlex
import webbrowser
from pathlib import Path

import numpy as np
import pytest

from adamkit.lab.data import datasets
from adamkit.lab.data.datasets import take

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
RUN = re.compile(r"runs/(train|sweep|range|compare)-[\d-]+")

TABLE = "rooms,area,price\n" + "".join(f"{1 + i % 5},{40 + 7 * i % 90},{100 + 13 * i % 70}\n" for i in range(40))
MODEL = """
import keras

def network():
    return keras.Sequential([keras.Input((13,)), keras.layers.Dense(3, activation="softmax")])
"""
# Appended, so that they count; the page's own figures are for a reader who has the time.
SHORT = {
    "train": "--epochs 1 --no-report",
    "sweep": "--epochs 1 --no-report",
    "range": "--no-report",
    "compare": "--epochs 1 --budget 2 --seeds 1 --no-report",
}
SHORT["explain"] = "--epochs 1 --rates 2 --seeds 2"  # on a data set
TAKES_UP = ("--from", "--resume")  # what was begun, as it was begun


FEWER = {r":log:\d+": ":log:4", r"--sobol \d+": "--sobol 8", r"--budget \d+": "--budget 4"}
FEWER[r"--ray( \S+:\S+)?"] = ""  # there is a test of both forms, on a cluster, in tests/lab/sweeping/test_ray.py


@pytest.fixture(autouse=True)
def fewer_rows(monkeypatch):
    """Of scikit-learn's data sets, a fifth."""
    every = datasets._scikit_learn

    def fifth(name, seed):
        return take(rows := every(name, seed), np.arange(0, len(rows), 5))

    built_in = {name: fifth if load is every else load for name, load in datasets._BUILT_IN.items()}
    monkeypatch.setattr(datasets, "_scikit_learn", fifth)
    monkeypatch.setattr(datasets, "_BUILT_IN", built_in)


@pytest.fixture(autouse=True)
def no_server_stays(monkeypatch):
    """`adamkit play` serves until Ctrl-C, and opens a browser."""
    from adamkit.play.serving import Serving

    monkeypatch.setattr(Serving, "run", lambda serving: (serving.start(), serving.close()))
    monkeypatch.setattr(webbrowser, "open", lambda address: None)


def commands(page):
    lines = [line for block in BLOCK.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [line for line in lines if line.startswith("adamkit ")]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_run(page, command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("houses.csv", "table.csv"):
        Path(name).write_text(TABLE)
    Path("my.py").write_text(MODEL)
    for line in commands(page):
        for run in RUN.finditer(line):
            if not Path(run[0]).exists():
                made = shlex.split(f"{run[1]} {SHORT.get(run[1], '')} --out {run[0]}")
                assert command_line(*made)[0] == 0, run[0]
        shorter = line
        for many, few in FEWER.items():
            shorter = re.sub(many, few, shorter)
        name, *arguments = shlex.split(shorter, comments=True)[1:]
        is_training = name != "explain" or "--data" in arguments
        if name in SHORT and is_training and not set(arguments) & set(TAKES_UP):
            arguments += shlex.split(SHORT[name])
            if name == "compare" and "--optimizers" not in arguments:  # else nine
                arguments += ["--optimizers", "adam,sgd"]
        code, _, errors = command_line(name, *arguments)
        assert code == 0, f"{line}\n{errors}"
