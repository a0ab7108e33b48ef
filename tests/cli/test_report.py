"""`adamkit report`, and what the other commands leave."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.folders import tree

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SWEEP = ("sweep", "--learning-rate", "1e-3,1e-2", "--beta-1", "0.5,0.9", "--epochs", 2, "--out", "run", "--no-report")


def test_a_run_leaves_its_report_and_says_where(command_line):
    code, out, _ = command_line("train", "--epochs", 2, "--out", "run", "--json")
    assert code == 0
    assert [json.loads(line)["epoch"] for line in out.splitlines()] == [1, 2]  # nothing else
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "Training mlp on random" in page
    assert "adamkit train --epochs 2" in page
    command_line("train", "--epochs", 2, "--out", "quiet", "--no-report")
    assert "report.html" not in tree("quiet")


def test_a_sweep_has_a_report_and_pictures_on_request_also_while_it_runs(command_line):
    assert command_line(*SWEEP)[0] == 0
    assert "report.html" not in tree("run")
    code, out, _ = command_line("report", "run", "--png", "--out", "page.html")
    assert (code, out.splitlines()[0]) == (0, "report page.html")
    assert "Sweep of 4 settings" in Path("page.html").read_text(encoding="utf-8")
    assert "adamkit sweep --learning-rate 1e-3,1e-2 --beta-1 0.5,0.9 --epochs 2" in Path("page.html").read_text("utf-8")
    pictures = tree("charts")
    assert {Path(name).suffix for name in pictures} == {".png"}
    assert {"learning_rate.png", "beta_1.png", "explorer.png"} <= set(pictures)
    assert out.splitlines()[1] == f"charts {len(pictures)} in charts"

    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(record | {"status": "running"}))
    Path("run/history.parquet").unlink()
    assert command_line("report", "run")[0] == 0
    assert "was still running" in Path("run/report.html").read_text(encoding="utf-8")
    shutil.rmtree("run/parts")
    code, _, err = command_line("report", "run")
    assert code == 2
    assert "must be a sweep with a finished setting, and has none" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "a run folder must hold a file run.json"),
        (["made"], "must be JSON, and is not"),
        (["made", "--out", "no/such/page.html"], "--out must be a file in a folder that is there"),
    ],
)
def test_bad_input_is_one_line(command_line, arguments, message):
    Path("made").mkdir()
    Path("made/run.json").write_text("{")
    code, out, err = command_line("report", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
