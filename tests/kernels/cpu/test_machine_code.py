"""Machine code on disk: found by the next process, rebuilt when damaged, never in the way."""

import ctypes
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from adamkit import cache
from adamkit.kernels.cpu import launch, machine_code

pytestmark = pytest.mark.slow  # seconds, all in all


def build():
    def add_one(job):
        job[0] += 1

    return add_one


def never():
    pytest.fail("compiled again")


def result(kernel):
    job = (ctypes.c_int64 * 1)(41)
    kernel.call(ctypes.addressof(job))
    return job[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_is_compiled_once_and_then_found(folder):
    assert result(machine_code.kernel("add", [], build)) == 42
    assert result(machine_code.kernel("add", [], never)) == 42
    assert [path.suffix for path in folder.iterdir()] == [".o"]


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: b"", lambda x: x[:40] + b"?" + x[41:]])
def test_a_damaged_file_is_replaced(folder, damage):
    machine_code.kernel("add", [], build)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert result(machine_code.kernel("add", [], build)) == 42
    assert result(machine_code.kernel("add", [], never)) == 42


def test_a_change_of_the_source_is_noticed(folder, tmp_path):
    source = tmp_path / "source.py"
    source.write_text("one")
    machine_code.kernel("add", [source], build)
    source.write_text("two")
    machine_code.kernel("add", [source], build)
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    monkeypatch.setattr(machine_code, "_folders", lambda: [occupied / "cache", tmp_path / "second"])
    assert result(machine_code.kernel("add", [], build)) == 42
    assert len(list((tmp_path / "second").iterdir())) == 1
    assert result(machine_code.kernel("add", [], never)) == 42


def test_numba_alone_serves_where_the_object_file_cannot_be_made(folder, monkeypatch):
    def fail(_):
        raise RuntimeError("another LLVM")

    monkeypatch.setattr(machine_code, "_compile", fail)
    assert result(machine_code.kernel("add", [], build)) == 42
    assert not folder.exists()


def test_every_file_that_the_kernel_is_made_of_counts_as_its_source():
    code = """
        import sys
        from adamkit.kernels.cpu import source
        for name, module in sys.modules.items():
            if name.startswith("adamkit."):
                print(module.__file__)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    loaded = set(map(Path, done.stdout.split()))
    # `cache` keeps the code; packages' `__init__` only import.
    code_free = {path for path in loaded if path.name in ("cache.py", "__init__.py")}
    assert loaded - code_free <= set(launch.sources())
    assert len(loaded - code_free) >= 10


def test_a_process_that_finds_the_kernel_does_not_load_numba():
    code = """
        import sys, torch
        from adamkit.torch import Adam, compile_kernels
        x = torch.nn.Parameter(torch.ones(3))
        x.grad = torch.ones(3)
        Adam([x]).step()
        loaded = "numba" in sys.modules
    """
    launch._kernel.cache_clear()
    exec(textwrap.dedent(code), {})  # leaves it on disk
    command = [sys.executable, "-c", textwrap.dedent(code) + "print(loaded)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.strip() == "False"


def test_a_folder_that_others_can_write_gives_and_gets_no_code(folder, monkeypatch):
    monkeypatch.setattr(cache, "_said", set())
    machine_code.kernel("add", [], build)
    folder.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="can be written by others") as said:
        assert result(machine_code.kernel("add", [], build)) == 42
    assert len(said) == 2  # neither read nor written
    monkeypatch.setenv("NUMBA_CACHE_DIR", "here")
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR must be an absolute path"):
        assert result(machine_code.kernel("add", [], build)) == 42
    assert not Path("here").exists()
