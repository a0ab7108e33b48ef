"""A sweep that is killed again and again gives the table of one that is not.

Each process kills itself at a moment that it is told: in the middle of writing a file, or when the file is there.
Between two files nothing changes on the disk, so that these are all the moments there are, whatever the speed of the
machine.
"""

import fnmatch
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest

from adamkit import cli
from adamkit.lab import disk
from adamkit.lab.runs.folder import RunFolder
from tests.cli.folders import tree

# Eight chunks, two for each of four starts; then, of the two best of eight settings, four.
SWEEP = (
    *("sweep", "--model", "logistic", "--batch-size", "40", "--learning-rate", "1e-3..1:log:8", "--seeds", "4"),
    *("--epochs", "8", "--halving", "4"),
)
HALF, WHOLE = "half written", "there"
MOMENTS = [  # a file, by its name, that is written for the n-th time; a chunk's state is written before its history
    ("run.json", 1, WHOLE),
    ("plan.json", 1, HALF),
    ("0-*.npz", 1, HALF),
    ("0-*.npz", 2, WHOLE),
    ("0-*.parquet", 2, HALF),
    ("0-*.parquet", 3, WHOLE),
    ("1-*.npz", 1, HALF),
    ("1-*.parquet", 2, WHOLE),
    ("history.parquet", 1, HALF),
    ("summary.csv", 1, HALF),
    ("run.json", 2, HALF),
]
HANGS = 600  # seconds, after which it is taken for dead


def run_until(folder, arguments, name, number, state):
    """`adamkit` with arguments, in a folder, until a file is written."""
    os.chdir(folder)
    replace, left = disk.replace, [number]

    def replace_and_die(path, write):
        left[0] -= fnmatch.fnmatch(path.name, name)
        if left[0] or not fnmatch.fnmatch(path.name, name):
            replace(path, write)
            return

        def write_and_die(temporary):
            write(temporary)
            if state == HALF:
                os.truncate(temporary, temporary.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        replace(path, write_and_die)
        os.kill(os.getpid(), signal.SIGKILL)

    disk.replace = replace_and_die
    sys.argv = ["adamkit", *arguments]
    cli.main()


@pytest.fixture(scope="module")
def start():
    """Starts a function in a process of its own, from one that has imported everything and forks."""
    context = multiprocessing.get_context("forkserver")
    ours = ("cli.sweep_display", "lab.runs.sweeps", "lab.sweeping.sweeper", "lab.insight.reports.made")
    context.set_forkserver_preload([__name__, *(f"adamkit.{name}" for name in ours)])

    def started(*arguments):
        process = context.Process(target=run_until, args=arguments)
        process.start()
        return process

    return started


@pytest.mark.tried(
    "a sweep killed before, in and after each kind of file that it writes",
    "the bits of one that never was",
)
@pytest.mark.optimized
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_bits(start, command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_line(*SWEEP, "--out", "undisturbed")[0] == 0
    for number, moment in enumerate(MOMENTS):
        arguments = ("sweep", "--resume", "killed") if number else (*SWEEP, "--out", "killed")
        process = start(str(tmp_path), arguments, *moment)
        process.join(HANGS)
        assert process.exitcode == -signal.SIGKILL, moment
        assert Path("killed/run.json").exists()
    assert RunFolder.open("killed").read_record()["status"] == "running"

    assert command_line("sweep", "--resume", "killed")[0] == 0
    assert RunFolder.open("killed").read_record()["status"] == "done"
    undisturbed, killed = (RunFolder.open(name).read_history() for name in ("undisturbed", "killed"))
    assert killed.groupby(["setting", "seed"]).ngroups == 8 * 4
    assert not killed.duplicated(["setting", "seed", "epoch"]).any()
    pd.testing.assert_frame_equal(undisturbed, killed, check_exact=True)
    assert [name for name in tree("killed") if not name.startswith(".")] == tree("undisturbed")
    assert len(list(Path("killed/parts").glob("[0-9]*.parquet"))) == 12
