"""A run folder from somebody else runs no code until the user says so."""

import json
from pathlib import Path

import pytest

EVIL = "import pathlib\n\ndef go():\n    pathlib.Path('has run').touch()\n    raise ValueError('evil')\n"
SWEEP = {"sweep": {"space": [{"learning_rate": 0.1}]}, "best": {"setting": {"learning_rate": 0.1}, "objective": 0.5}}
SPLITS = {"validation_split": 0.2, "test_split": 0.2}


@pytest.mark.tried(
    "a `run.json` that names `evil.py`, in five commands",
    "refused, not run",
)
@pytest.mark.parametrize(
    ("arguments", "record"),
    [
        (("train", "--from", "foreign", "--out", "mine"), {}),
        (("train", "--resume", "foreign"), {}),
        (("verify", "foreign"), {}),
        (("train", "--best-of", "foreign", "--out", "mine"), SWEEP),
        (("sweep", "--resume", "foreign"), SWEEP),
        (("compare", "--resume", "foreign"), {"comparison": {"optimizers": ["adam"]}}),
        (("trace", "foreign", "--weight", "kernel"), {}),
        (("play", "foreign", "--no-browser"), {}),
        (("play", "foreign", "--no-browser"), SWEEP),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("part", ["model", "data"])
def test_a_foreign_folder_runs_no_code_without_notice(command_line, tmp_path, monkeypatch, arguments, record, part):
    monkeypatch.chdir(tmp_path)
    Path("foreign").mkdir()
    Path("foreign/evil.py").write_text(EVIL)
    settings = {"model": "logistic", **SPLITS, part: "foreign/evil.py:go"}
    Path("foreign/run.json").write_text(json.dumps({"settings": settings, **record}))
    code, out, err = command_line(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"foreign/run.json names code that is new here or has changed since it was run: {settings[part]} in " in err
    assert str(tmp_path / "foreign" / "evil.py") in err
    assert "--trust-code" in err
    assert not Path("has run").exists()
    code, _, err = command_line(*arguments, "--trust-code")
    assert (code, Path("has run").exists()) == (2, True)
    assert "evil.py:go raised ValueError: evil" in err
