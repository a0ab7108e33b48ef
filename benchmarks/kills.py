"""Kills runs and sweeps at random moments, goes on with them, and compares what they end with to an undisturbed one.

    nice python -m benchmarks.kills [--kills 100] [--seed 0]

Handwritten digits, a convolutional network with Dropout, `adamkit train` and `adamkit sweep` as processes of their own
that SIGKILL ends at a moment drawn from the processor's time that a whole one takes. Each is taken up by `--resume`,
killed again, and so on until one comes to its end; then another one is begun. Where root may mount one, a quarter of
the kills is on a small disk, which a file fills at an earlier random moment and which has room again when the run is
taken up. Processes are forked from one that has imported everything, so that the moments are those of the run itself.
History, weights, the optimizer's state and the hash of all epochs' states (a sweep: history, summary and the state of
every run) must be those of the undisturbed run to the bit.

It takes some half an hour, and rewrites its table in `docs/reliability.md`.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from adamkit import cli
from adamkit.lab.runs.folder import RunFolder
from benchmarks.report import machine, show, update_page, versions, write

MODEL = """
import keras
from keras import layers

def network():
    hidden = [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((8, 8, 1)), *hidden, layers.Dense(10, activation="softmax")])
"""
DIGITS = ("--data", "digits", "--model", "network.py:network", "--batch-size", "50", "--no-report")
DIGITS += ("--validation-split", "0.2")
TRAIN = ("train", *DIGITS, "--epochs", "150")
SWEEP = ("sweep", *DIGITS, "--epochs", "10", "--learning-rate", "1e-4..1e-1:log:12", "--seeds", "2", "--halving", "3")
DISK = 4 * 2**20  # bytes; a run takes some 0.4 MB, a sweep 1.5 MB
PRELOADED = (
    "h5py",
    "adamkit.cli",
    "adamkit.lab.runs.sweeps",
    "adamkit.cli.display",
    "adamkit.cli.sweep_display",
    "adamkit.lab.sweeping.sweeper",
    "pyarrow.parquet",
)
HANGS = 1800  # seconds, after which a process is taken for dead


class Kind(NamedTuple):
    """What is killed."""

    name: str
    command: Sequence[str]
    disk: Path | None = None  # that fills


class Counts:
    """What happened to one kind."""

    def __init__(self) -> None:
        self.runs = self.kills = self.before = self.errors = self.resumes = self.differ = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    moments = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="adamkit-kills-") as name, small_disk(Path(name, "disk")) as disk:
        folder = Path(name)
        os.environ["ADAMKIT_CACHE"] = str(folder / "cache")  # so that nothing is compiled twice
        multiprocessing.set_forkserver_preload(list(PRELOADED))
        (folder / "network.py").write_text(MODEL)
        kinds = [Kind("train", TRAIN), Kind("sweep", SWEEP)]
        if disk is not None:
            kinds += [Kind("train, disk fills", TRAIN, disk), Kind("sweep, disk fills", SWEEP, disk)]
        shares = [3, 3, 1, 1][: len(kinds)]
        wholes = {command: undisturbed(folder, command) for command in (TRAIN, SWEEP)}
        for kind, share in zip(kinds, shares, strict=True):
            counts = Counts()
            while counts.kills < options.kills * share / sum(shares):
                one_run(folder, kind, counts, wholes[kind.command], moments)
            rows.append(row_of(kind, counts))
            print(rows[-1], flush=True)
    show("kills", rows)
    write("kills", {"machine": machine(), "versions": versions(), "rows": rows})
    update_page()
    if any(row["other than undisturbed"] != "0" for row in rows):
        sys.exit("a run that was killed ended with other bits than an undisturbed one")


def row_of(kind: Kind, counts: Counts) -> dict[str, str]:
    """A row of the table."""
    row = {
        "what": kind.name,
        "kills": counts.kills,
        "begun anew, since there was no record yet": counts.before,
        "errors of one line on the full disk": counts.errors if kind.disk else "",
        "times gone on": counts.resumes,
        "runs that came to their end": counts.runs,
        "other than undisturbed": counts.differ,
    }
    return {name: str(value) for name, value in row.items()}


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path | None]:
    """A file system in memory; None where this user may not mount one."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Started:
    """`adamkit` with arguments, as a process."""

    def __init__(self, folder: Path, arguments: Sequence[str]):
        self._errors = folder / "errors"
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=run, args=(str(folder), list(arguments), str(self._errors)))
        self._process.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ends before it has had so many seconds of the processor's time in all."""
        gone_on = time.monotonic()
        while self.seconds() < seconds:
            self._process.join(0.02)
            if self._process.exitcode is not None:
                return True
            if time.monotonic() - gone_on > HANGS:
                raise RuntimeError("it hangs")
        return False

    def seconds(self) -> float:
        """Of the processor, that it has had."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def ended(self) -> tuple[int, str]:
        """How, and what it said of errors."""
        self._process.join(HANGS)
        assert self._process.exitcode is not None
        return self._process.exitcode, self._errors.read_text()


def run(folder: str, arguments: list[str], errors: str) -> None:
    """What the process does."""
    os.chdir(folder)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["adamkit", *arguments]
    cli.main()


def undisturbed(folder: Path, command: Sequence[str]) -> tuple[dict, float]:
    """What it ends with, and the processor's seconds that it takes when nothing has to be compiled."""
    seconds = 0.0
    for out in ("whole", "again"):
        process = Started(folder, [*command, "--out", out])
        while not process.wait(seconds + 0.01):
            seconds = process.seconds()
        code, err = process.ended()
        assert code == 0, err
        if out == "whole":
            seconds = 0.0
    whole = contents(folder / "whole")
    assert differences(whole, contents(folder / "again")) == [], "two undisturbed runs differ"
    for out in ("whole", "again"):
        shutil.rmtree(folder / out)
    return whole, seconds


def one_run(folder: Path, kind: Kind, counts: Counts, whole: tuple[dict, float], moments: random.Random) -> None:
    """A run that is killed and gone on with until it comes to its end."""
    expected, seconds = whole
    out = (kind.disk or folder) / "run"
    arguments = [*kind.command, "--out", str(out)]
    while True:
        process = Started(folder, arguments)
        moment = moments.uniform(0, seconds)
        if not process.wait(moments.uniform(0, moment) if kind.disk else moment):
            with fill(kind.disk) if kind.disk else contextlib.nullcontext():
                if not process.wait(moment):
                    process.kill()
                code, err = process.ended()
        code, err = process.ended()
        if code == 0:
            break
        if code == -signal.SIGKILL:
            counts.kills += 1
        else:
            assert kind.disk, f"it ended by itself with {code}: {err}"
            assert (code, err.count("\n")) == (1, 1), err
            counts.errors += 1
        if (out / "run.json").exists():
            counts.resumes += 1
            arguments = [kind.command[0], "--resume", str(out), "--no-report"]
        else:  # there is nothing to go on with
            counts.before += 1
            shutil.rmtree(out, ignore_errors=True)
            arguments = [*kind.command, "--out", str(out)]
    counts.runs += 1
    differ = differences(expected, contents(out))
    counts.differ += bool(differ)
    if differ:
        print(f"{kind.name}: {differ} differ", flush=True)
    shutil.rmtree(out)


@contextlib.contextmanager
def fill(disk: Path) -> Iterator[None]:
    """A disk with no room on it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    try:
        yield
    finally:
        ballast.unlink()


def contents(out: Path) -> dict[str, np.ndarray | bytes]:
    """All that a run or a sweep has found, without how long it took."""
    folder = RunFolder.open(out)
    record = folder.read_record()
    assert record["status"] == "done", record["status"]
    found = table(folder.read_history())
    found["state"] = str(record.get("state")).encode()
    if (summary := out / "summary.csv").exists():
        found |= {f"summary {name}": values for name, values in table(pd.read_csv(summary)).items()}
    for part in sorted((out / "parts").glob("*.npz")):
        with np.load(part) as arrays:
            found |= {f"{part.stem} {name}": arrays[name] for name in arrays.files}
    if (model := out / "model.keras").exists():
        with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as h5:
            h5.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def table(frame: pd.DataFrame) -> dict[str, np.ndarray | bytes]:
    """Its columns, all of them numbers, but for seconds."""
    return {name: frame[name].to_numpy(np.float64) for name in frame if name != "seconds"}


def differences(expected: dict, found: dict) -> list[str]:
    """The names of what is not the same to the bit."""
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if bits(expected.get(name)) != bits(found.get(name))]


def bits(value: np.ndarray | bytes | None) -> object:
    """What two of the same bits have in common."""
    return value if isinstance(value, (bytes, type(None))) else (str(value.dtype), value.shape, value.tobytes())


if __name__ == "__main__":
    main()
