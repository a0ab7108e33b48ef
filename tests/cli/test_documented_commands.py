"""The commands in the documentation run.

The `adamkit` lines of a page's ```sh blocks run in order, as they stand but for fewer epochs, batches, settings and
rows. What a page supposes that its reader has, a table or an earlier run, is made first. What pages repeat runs once.
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
    "train": "--epochs 1 --batch-size 2000",  # one batch, so that there is no program for a last, smaller one
    "sweep": "--epochs 1 --batch-size 2000",
    "range": "",
    "compare": "--epochs 1 --batch-size 2000 --budget 2 --seeds 1",
}
SHORT["explain"] = "--epochs 1 --rates 2 --seeds 2"  # on a data set
TAKES_UP = ("--from", "--resume")  # what was begun, as it was begun


FEWER = {r":log:\d+": ":log:2", r"--sobol \d+": "--sobol 4", r"--budget \d+": "--budget 4"}
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


def command(line):
    """Its name and arguments."""
    for many, few in FEWER.items():
        line = re.sub(many, few, line)
    return shlex.split(line, comments=True)[1:]


def own_commands():
    """Of each page those that no page before it has, but for what leaves a folder that the page goes on with."""
    seen = []
    for page in PAGES:
        own = [line for line in commands(page) if command(line) not in seen or "--out" in line]
        seen += map(command, own)
        if own:
            yield pytest.param(own, id=page.name)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("lines", list(own_commands()))
def test_commands_run(lines, command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("houses.csv", "table.csv"):
        Path(name).write_text(TABLE)
    Path("my.py").write_text(MODEL)
    for line in lines:
        for run in RUN.finditer(line):
            if not Path(run[0]).exists():
                made = shlex.split(f"{run[1]} {SHORT.get(run[1], '')} --out {run[0]}")
                assert command_line(*made)[0] == 0, run[0]
        name, *arguments = command(line)
        is_training = name != "explain" or "--data" in arguments
        if name in SHORT and is_training and not set(arguments) & set(TAKES_UP):
            arguments += shlex.split(SHORT[name])
            if name == "compare" and "--optimizers" not in arguments:  # else nine
                arguments += ["--optimizers", "adam,sgd"]
        code, _, errors = command_line(name, *arguments)
        assert code == 0, f"{line}\n{errors}"
