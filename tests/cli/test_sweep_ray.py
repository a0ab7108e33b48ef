"""A sweep on Ray whose process is killed, or ended by Ctrl-C, leaves no process behind and goes on to the same bits."""

import fnmatch
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pandas as pd
import pytest

from adamkit import cli
from adamkit.cli import options
from adamkit.lab import disk
from adamkit.lab.runs.folder import RunFolder
from tests.cli.test_sweep_killed import SWEEP
from tests.lab.sweeping.ray_cluster import HANGS, marked, wait_until
from tests.lab.sweeping.test_executors import Reluctant

ROOT = Path(__file__).parents[2]


def run_with(name, number, sign, arguments):
    """`adamkit` with arguments, which sends itself a signal when a file of this name is there for the n-th time."""
    replace, left = disk.replace, [number]

    def replace_and_signal(path, write):
        replace(path, write)
        left[0] -= fnmatch.fnmatch(path.name, name)
        if left[0] == 0 and fnmatch.fnmatch(path.name, name):
            os.kill(os.getpid(), sign)

    disk.replace = replace_and_signal
    sys.argv = ["adamkit", *arguments]
    cli.main()


@pytest.fixture(scope="session")
def run_apart():
    """`run_with` in a process of its own: its exit code. No process that it began is left when the session ends.

    Ray's agents look for a cluster that was killed for a minute, in which other tests can run.
    """
    marks = []
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(folder, *arguments):
        marks.append(uuid.uuid4().hex)
        code = f"from tests.cli.test_sweep_ray import run_with; run_with(*{arguments!r})"
        environment = os.environ | {"ADAMKIT_TEST": marks[-1], "PYTHONPATH": paths}
        return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, timeout=HANGS).returncode

    yield run
    wait_until(lambda: not any(marked("ADAMKIT_TEST", mark) for mark in marks))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked at in /proc")
def test_killed_and_interrupted_on_ray_it_ends_on_this_machine_with_the_same_bits(
    command_line, run_apart, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    assert command_line(*SWEEP, "--no-report", "--out", "undisturbed")[0] == 0

    killed = run_apart(tmp_path, "0-*.parquet", 3, int(signal.SIGKILL), (*SWEEP, "--ray", "--out", "killed"))
    assert killed == -signal.SIGKILL
    assert RunFolder.open("killed").read_record()["status"] == "running"
    assert len(list(Path("killed/parts").glob("[0-9]*.parquet"))) == 3

    resumed = ("sweep", "--resume", "killed", "--ray", "--no-report")
    # A request to end does what Ctrl-C does, and Ray must not have taken it over.
    assert run_apart(tmp_path, "0-*.parquet", 2, int(signal.SIGTERM), resumed) == 130
    assert RunFolder.open("killed").read_record()["status"] == "interrupted"
    assert len(list(Path("killed/parts").glob("[0-9]*.parquet"))) == 5

    assert command_line("sweep", "--resume", "killed", "--no-report")[0] == 0
    record = RunFolder.open("killed").read_record()
    assert (record["status"], record["as_on_one_machine"]) == ("done", "bit for bit")
    undisturbed, history = (RunFolder.open(name).read_history() for name in ("undisturbed", "killed"))
    pd.testing.assert_frame_equal(undisturbed, history, check_exact=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("always:.*could not be trained:RuntimeWarning")
def test_runs_that_could_not_be_trained_are_shown_and_recorded(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "executor", lambda ray: Reluctant(settings=[5]) if ray else None)
    code, out, error = command_line(*SWEEP[:-2], "--ray", "here", "--no-report", "--out", "sweep")
    assert code == 0
    assert "adamkit: warning: 4 runs could not be trained, the others go on: it is too late. They are: " in error
    lines = out.splitlines()
    assert "failed 16 runs: it is too late" in lines
    assert "next   adamkit sweep --resume sweep" in lines
    record = RunFolder.open("sweep").read_record()
    assert record["status"] == "done"
    assert sorted({run["setting"] for run in record["failed"]}) == [4, 5, 6, 7]
    assert command_line("sweep", "--resume", "sweep", "--no-report")[0] == 0
    assert "failed" not in RunFolder.open("sweep").read_record()


def test_a_bad_address_is_named_as_it_was_typed(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("sweep", "compare"):
        code, out, error = command_line(command, "--ray", "ray://head:10001")
        assert (code, out) == (2, "")
        assert error.startswith("adamkit: --ray must be HOST:PORT of a cluster")
        assert error.endswith("Received: --ray='ray://head:10001'\n")
    away = "executor must be a Ray cluster that can be reached, with Ray 2. Received: address='head:1', nobody is there"
    typed = options.as_typed(away, ("log",), **options.OF_RAY)
    assert (
        typed
        == "--ray must be a Ray cluster that can be reached, with Ray 2. Received: --ray='head:1', nobody is there"
    )
