"""A sweep that is killed again and again gives the table of one that is not."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from adamkit.lab.runs.folder import RunFolder
from tests.cli.folders import tree

KILLS = 20
# 120 chunks: two for each of 40 starts, then, of the two best of eight settings, one.
SWEEP = (
    *("--model", "logistic", "--batch-size", "40", "--learning-rate", "1e-3..1:log:8", "--seeds", "40"),
    *("--epochs", "64", "--halving", "4"),
)


@pytest.mark.slow
def test_a_sweep_that_is_killed_twenty_times_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": tmp_path / "programs",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }.items():
        monkeypatch.setenv(name, str(value))

    began = time.monotonic()
    process = start(*SWEEP, "--out", "undisturbed")
    wait_for_a_chunk(process)
    first = time.monotonic()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    to_first_chunk, at_work = first - began, time.monotonic() - first

    moments = random.Random(0)
    found = set()  # how much was done when a kill came
    kills = 0
    while kills < KILLS:
        begun = Path("killed/run.json").exists()
        process = start(*(("--resume", "killed") if begun else (*SWEEP, "--out", "killed")))
        if kills % 2:  # among the chunks
            wait_for_a_chunk(process)
            time.sleep(moments.uniform(0, at_work / KILLS))
        else:  # anywhere up to the first, after which there is nothing more to wait for
            time.sleep(moments.uniform(0, to_first_chunk))
        ended = process.poll()
        process.kill()
        _, errors = process.communicate()
        found.add(len(list(Path("killed/parts").glob("[0-9]*.parquet"))))
        if ended is None:
            kills += 1
        else:  # it was faster: begin anew
            assert ended == 0, errors
            shutil.rmtree("killed")
    assert len(found) > 2

    done = subprocess.run([*COMMAND, "--resume", "killed"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert RunFolder.open("killed").read_record()["status"] == "finished"
    undisturbed, killed = (RunFolder.open(name).read_history() for name in ("undisturbed", "killed"))
    assert killed.groupby(["setting", "seed"]).ngroups == 8 * 40
    assert not killed.duplicated(["setting", "seed", "epoch"]).any()
    pd.testing.assert_frame_equal(undisturbed, killed, check_exact=True)
    assert [name for name in tree("killed") if not name.startswith(".")] == tree("undisturbed")


COMMAND = sys.executable, "-m", "adamkit", "sweep"


def start(*arguments):
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_a_chunk(process):
    """Nothing is shown before something is finished."""
    assert process.stdout.readline(), process.communicate()
