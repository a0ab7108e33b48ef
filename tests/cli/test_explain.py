"""`adamkit explain` lists experiments, runs one, and takes Adam apart on data of the user's."""

import json

import pandas as pd
import pytest

from adamkit.lab.insight.experiments import EXPERIMENTS


def test_lists_every_experiment_with_its_claim(command_line):
    code, out, err = command_line("explain")
    assert (code, err) == (0, "")
    for known in EXPERIMENTS.values():
        assert f"\n{known.name} " in f"\n{out}"
        assert " ".join(known.claim.split()) in " ".join(out.split())
    lines = [json.loads(line) for line in command_line("explain", "--json")[1].splitlines()]
    assert [line["name"] for line in lines] == list(EXPERIMENTS)


def test_a_narrow_terminal_is_enough(command_line, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(tmp_path)
    _, out, _ = command_line("explain")
    assert max(map(len, out.splitlines())) <= 40
    assert "\x1b" not in out
    code, out, _ = command_line("explain", "narrow", "--out", "run")
    assert code == 0
    assert max(map(len, out.splitlines()[:-4])) <= 40


def test_one_leaves_paragraph_figures_chart_and_the_command_that_repeats_it(command_line, tmp_path):
    folder = tmp_path / "run"
    code, out, _ = command_line("explain", "narrow", "--out", folder, "--svg", "--seed", "3", "--json")
    assert code == 0
    (line,) = out.splitlines()
    shown = json.loads(line)
    assert shown["command"] == "adamkit explain narrow --seed 3"
    assert shown["claim"] == EXPERIMENTS["narrow"].claim
    assert (folder / "explanation.txt").read_text(encoding="utf-8").strip() == shown["paragraph"]
    assert len(pd.read_csv(folder / "figures.csv")) == len(shown["figures"])
    assert {path.suffix for path in folder.iterdir()} == {".json", ".csv", ".txt", ".html", ".svg"}
    again = json.loads(command_line("explain", "narrow", "--out", tmp_path / "again", "--seed", "3", "--json")[1])
    assert again["figures"] == shown["figures"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["divergance"], "Did you mean 'divergence'"),
        (["narrow", "--epochs", "3"], "--epochs must be given without the name of an experiment"),
        (["narrow", "--seed", "-1"], "--seed must be a whole number"),
        (["--data", "digts"], "digits"),
        (["--data", "wine", "--seeds", "1"], "--seeds must be a whole number >= 2"),
        (["--data", "wine", "--weight-decay", "-1"], "--weight-decay must be"),
    ],
)
def test_bad_input_is_named_in_one_line(arguments, said, command_line, tmp_path):
    code, out, err = command_line("explain", *arguments, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_on_own_data_it_says_which_part_does_the_work(command_line, tmp_path):
    code, out, _ = command_line(
        "explain", "--data", "wine", "--model", "logistic", "--epochs", "2", "--rates", "4", "--seeds", "3",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert code == 0
    shown = json.loads(out.splitlines()[-1])
    assert shown["figures"][0]["variant"] == "Adam"
    assert len(shown["figures"]) == 6
    assert shown["figures"][0]["change"] == 0
    assert "On this problem" in shown["paragraph"]
