import json

import numpy as np
import pandas as pd
import pytest

from adamkit.lab.errors import InputError
from adamkit.lab.runs import folder as run_folder
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping import sealed


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_is_written_is_read(tmp_path):
    folder = RunFolder.create("a/b")
    record = {"settings": {"epochs": 3, "data": "η.csv"}}
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.1, np.nan]})
    folder.write_record(record)
    folder.write_history(history)
    again = RunFolder.open(tmp_path / "a/b")
    assert again.read_record() == record
    pd.testing.assert_frame_equal(again.read_history(), history)
    assert again.files() == ["run.json", "history.parquet"]


def test_a_history_with_another_number_in_it_is_found():
    """By its checksum: it is a whole Parquet file, with the checksum of the numbers of before."""
    import pyarrow.parquet

    folder = RunFolder.create("run")
    folder.write_history(pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}))
    table = pyarrow.parquet.read_table("run/history.parquet")
    better = table.set_column(1, "loss", [[0.5, 0.125]])
    pyarrow.parquet.write_table(better, "run/history.parquet")
    with pytest.raises(InputError, match=r"history\.parquet is no readable history: .*checksum is another"):
        folder.read_history()
    pd.DataFrame({"epoch": [1]}).to_parquet("run/history.parquet")  # of a run of before there was one
    assert len(folder.read_history()) == 1


def test_what_diverged_has_the_checksum_that_it_was_written_with(tmp_path):
    """A processor's own NaN is negative, and Parquet has one NaN alone."""
    diverged = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, -np.nan]})
    sealed.write_rows(tmp_path / "history.parquet", diverged)
    pd.testing.assert_frame_equal(sealed.read_rows(tmp_path / "history.parquet"), diverged)
    seal = sealed.Seal("sweep", "0-0-0-0", 1, "state")
    sealed.write(tmp_path / "0-0-0-0.parquet", diverged, seal)
    assert sealed.read(tmp_path / "0-0-0-0.parquet")[1] == seal


def test_default_folders_made_at_once_differ():
    assert len({RunFolder.create(None).path for _ in range(5)}) == 5


def test_a_default_folder_that_another_run_takes_first(monkeypatch):
    made_at, calls = RunFolder._made_at.__func__, []

    def slow(cls, path, **options):
        calls.append(path)
        if len(calls) == 1:
            path.mkdir(parents=True)
            raise FileExistsError(17, "File exists")
        return made_at(cls, path, **options)

    monkeypatch.setattr(RunFolder, "_made_at", classmethod(slow))
    assert RunFolder.create(None).path == calls[1] != calls[0]


def test_a_write_that_fails_keeps_the_file_before_and_leaves_no_other():
    folder = RunFolder.create("run")
    folder.write_record({"settings": {}})

    def write(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.replace("history.parquet", write)
    with pytest.raises(TypeError):
        folder.write_record({"settings": object()})
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "run.json"]
    assert folder.read_record() == {"settings": {}}


def test_a_block_that_fails_before_there_is_a_history_leaves_nothing_it_made(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError):
        fail_in("there/a/b", lambda folder: folder.write_record({}))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with pytest.raises(ZeroDivisionError):
        fail_in("there", lambda folder: folder.write_record({}))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with pytest.raises(ZeroDivisionError):
        fail_in("run", lambda folder: folder.write_history(pd.DataFrame({"epoch": [1]})))
    assert RunFolder(tmp_path / "run").files() == ["history.parquet"]


def fail_in(path, write):
    with RunFolder.create(path) as folder:
        write(folder)
        _ = 1 / 0


def test_only_a_new_or_empty_folder_is_taken(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full/of").mkdir(parents=True)
    for name in ("file", "full", "file/below", "x" * 300, "nul\0"):
        with pytest.raises((InputError, ValueError), match=r"output folder|null"):
            RunFolder.create(name)
    assert RunFolder.create("full/of").path.is_dir()


def test_a_folder_that_must_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(run_folder.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="cannot be made or written: Permission denied"):
        RunFolder.create("run")


def test_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"must hold a file run.json"):
        RunFolder.open("absent")
    (tmp_path / "run.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="must be JSON"):
        RunFolder.open(".").read_record()
    (tmp_path / "run.json").write_text(json.dumps({"settings": 1}))
    with pytest.raises(InputError, match="must hold the settings"):
        RunFolder.open(".").read_record()
    (tmp_path / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no readable history"):
        RunFolder.open(".").read_history()
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="must be JSON"):
        RunFolder.open(".").read_record()
    for odd in ("text", [1.0, 2.0]):
        pd.DataFrame({"epoch": [1], "loss": [odd]}).to_parquet(tmp_path / "history.parquet")
        with pytest.raises(InputError, match=r"history.parquet must hold numbers. Received: .* in 'loss'"):
            RunFolder.open(".").read_history()


def test_what_is_not_finite_is_null_in_a_record():
    folder = RunFolder.create("run")
    folder.write_record({"settings": {}, "test": {"loss": np.inf, "parts": (1.0, float("nan"))}})
    assert folder.read_record() == {"settings": {}, "test": {"loss": None, "parts": [1.0, None]}}
