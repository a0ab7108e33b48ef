"""Code that a record names is run only if this user has run it here before."""

import sys
from pathlib import Path

import pytest

from adamkit.lab import runs, trust
from adamkit.lab.errors import InputError
from adamkit.lab.runs import Settings
from adamkit.lab.runs.folder import RunFolder

RECORD = Path("run", "run.json")
CODE = "import pathlib\npathlib.Path('has run').touch()\n\ndef go():\n    pass\n\ndef other():\n    pass\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def is_known(*names):
    try:
        trust.check(names, RECORD)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mine.py:go", ["mine.py"]),
        ("mine:go", ["mine.py"]),
        ("package.inner.mine:go", ["package/__init__.py", "package/inner/__init__.py", "package/inner/mine.py"]),
    ],
)
def test_code_is_known_as_it_was_where_it_was_and_by_its_function(name, files):
    for file in files:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(CODE)
    assert not is_known(name)
    trust.note([name, "mlp"])
    assert is_known(name, "mlp", "digits", "table.csv")
    assert not is_known("mlp", name.replace(":go", ":other"))
    for file in files:
        Path(file).write_text(CODE + "# changed\n")
        with pytest.raises(InputError, match=rf"run.json names code that is new here or has changed.*{files[-1]}"):
            trust.check([name], RECORD)
        Path(file).write_text(CODE)
        assert is_known(name)
    Path("copy").mkdir()
    Path("copy/mine.py").write_text(CODE)
    assert not is_known("copy/mine.py:go")
    assert not Path("has run").exists()
    assert "package" not in sys.modules


def test_what_is_no_file_of_python_is_not_known_and_without_a_cache_nothing_is(monkeypatch):
    assert not is_known("os:abort")
    assert not is_known("sys:exit")
    assert not is_known("absent:go")
    assert not is_known("absent.py:go")
    assert not is_known(":")
    Path("mine.py").write_text(CODE)
    monkeypatch.setenv("ADAMKIT_CACHE", "off")
    trust.note(["mine.py:go"])
    assert not is_known("mine.py:go")


def test_a_run_is_repeated_from_anywhere_until_its_code_changes(tmp_path, monkeypatch):
    Path("mine.py").write_text(
        "import numpy as np\n\ndef data():\n    return np.arange(20.0).reshape(10, 2), np.arange(10) % 2\n"
    )
    folder = RunFolder.create("run")
    folder.write_record(runs.prepare(Settings(data="mine.py:data", model="logistic")).record)
    folder = RunFolder.open(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert runs.again(folder).data == f"{tmp_path}/mine.py:data"
    (tmp_path / "mine.py").write_text(CODE)
    with pytest.raises(InputError, match=f"in {tmp_path}/mine.py. Read it, and give --trust-code to run it"):
        runs.again(folder)
    assert runs.again(folder, data="digits").data == "digits"
    assert runs.again(folder, trust_code=True).data == f"{tmp_path}/mine.py:data"
