"""`adamkit` as a process of its own: signals, pipes, terminals, disks and what it imports."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from adamkit.lab.runs.folder import RunFolder
from tests import processes
from tests.cli.folders import assert_same_bits, tree

pytestmark = pytest.mark.slow  # seconds, all in all

FILES = ["checkpoints", "history.parquet", "model.keras", "run.json"]
TRAIN = "-m", "adamkit", "train", "--no-report"
NETWORK = """
import keras
from keras import layers

def network():
    hidden = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.2)]
    return keras.Sequential([keras.Input((8, 8, 1)), *hidden, layers.Dense(10, activation="softmax")])
"""
ONE_AFTER_THE_OTHER = """
import json, sys
from adamkit import cli
from adamkit.lab import interrupts

interrupts.leave = sys.exit  # without ending the process
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["adamkit", "train", "--no-report", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code
"""
LONG = "--epochs", "1000000", "--out", "run", "--model", "logistic"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def imported(code):
    frameworks = "{'numpy', 'pandas', 'keras', 'jax', 'tensorflow', 'torch', 'sklearn'}"
    program = f"import sys\n{code}\nprint({frameworks} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stderr.strip()


def test_import_and_help_load_no_framework():
    assert imported("import adamkit") == "set()"
    for arguments in (["--help"], ["train", "--help"], ["--version"], ["train", "--beta-1"]):
        code = "import adamkit.cli\ntry:\n    adamkit.cli.main()\nexcept SystemExit:\n    pass"
        assert imported(f"sys.argv = ['adamkit', *{arguments}]\n{code}").splitlines()[-1] == "set()"


@pytest.mark.slow
def test_commands_import_keras_without_scikit_learn_which_is_there_all_the_same():
    code = """
        import sys
        from adamkit.cli import options
        options.use_backend("jax")
        assert "keras" in sys.modules and "sklearn" not in sys.modules
        from adamkit.lab import data
        print(len(data.load("wine")))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("178\n", "")


def started(*arguments):
    """A run in a process of its own that has shown its first epochs."""
    process = processes.Process(*TRAIN, *arguments)
    for line in process.stdout:  # it waits for a reader when the pipe is full
        if line.startswith(("epoch       5/", '{"epoch": 5')):
            return process
    pytest.fail(f"it ended: {process.communicate()}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_everything_saved(number):
    process = started(*LONG)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1] == "saved  run"
    assert tree("run") == FILES
    record = RunFolder.open("run").read_record()
    assert record["status"] == "interrupted"
    assert record["epochs_done"] == len(RunFolder.open("run").read_history())


@pytest.mark.tried(
    "a signal in a destructor, with Ctrl-C ignored or not",
    "exit code 130, no folder",
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_before_training_ends_the_process_wherever_it_comes(number, ignored):
    """An exception would be lost in a destructor, and so would SIGTERM where a shell has Ctrl-C ignored."""
    code = f"""
        import signal, sys
        if {ignored}:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        from adamkit import cli
        from adamkit.cli import options
        class Swallows:
            def __del__(self):
                signal.raise_signal({number.value})
        def use_backend(name):
            Swallows()
            print("goes on")
            sys.exit(0)
        options.use_backend = use_backend
        sys.argv = ["adamkit", "sweep", "--out", "a/run"]
        cli.main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    goes_on = ignored and number == signal.SIGINT
    assert (done.returncode, done.stdout, done.stderr) == ((0, "goes on\n", "") if goes_on else (130, "", ""))
    assert not Path("a").exists()


@pytest.mark.slow
def test_a_killed_run_leaves_a_readable_folder(command_line):
    process = started(*LONG)
    process.kill()
    process.communicate()
    assert RunFolder.open("run").read_record()["status"] == "running"
    assert len(RunFolder.open("run").read_history()) >= 1
    assert set(tree("run")) - {"checkpoints", "history.parquet", "run.json"} <= {
        name for name in tree("run") if name.startswith(".")
    }
    code, out, _ = command_line("train", "--no-report", "--from", "run", "--epochs", 2)
    assert code == 0
    assert "epoch 2/2" in out


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_with_everything_saved():
    with started(*LONG, "--json") as process:
        process.stdout.close()
        assert process.stderr.read().splitlines()[-1] == "saved  run"
    assert process.returncode == 130
    assert tree("run") == FILES


@pytest.mark.slow
def test_without_any_output():
    done = subprocess.run(
        f"{sys.executable} {' '.join(TRAIN)} --model logistic --epochs 2 --out run >&- 2>&-",
        shell=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    assert tree("run") == FILES


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_on_a_full_disk():
    with Path("/dev/full").open("w") as full:
        done = processes.run(*TRAIN, *LONG, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (1, "adamkit: No space left on device\n")


@pytest.mark.slow
def test_ascii_and_another_backend_in_the_environment():
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "KERAS_BACKEND": "torch"}
    command = sys.executable, *TRAIN
    done = subprocess.run(
        [*command, "--epochs", "2", "--data", "digits"], capture_output=True, text=True, env=environment, check=True
    )
    assert "8 ? 8 ? 1" in done.stdout
    assert done.stderr == ""
    assert json.loads(next(Path("runs").iterdir()).joinpath("run.json").read_text())["settings"]["backend"] == "jax"
    assert subprocess.run([*command, "--help"], capture_output=True, env=environment, check=True).stdout


@pytest.fixture
def small_disk(tmp_path):
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    # Lazily: one of pyarrow's threads may close the file that it has read a moment later.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.tried(
    "a disk too small for the model",
    "an error of one line; the checkpoint, the history and the record are there",
)
@pytest.mark.slow
def test_a_small_disk(command_line, small_disk):
    code, _, err = command_line("train", "--no-report", "--epochs", 3, "--out", small_disk / "run")
    assert code == 1
    assert err.startswith("adamkit: could not save all of ")
    assert err.count("\n") == 1
    assert tree(small_disk / "run") == ["checkpoints", "history.parquet", "run.json"]
    assert len(RunFolder.open(small_disk / "run").read_history()) == 3


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_from_repeats_a_run_to_the_same_bits(backend, request):
    if backend == "jax":  # what the first process compiled, the second would load
        request.getfixturevalue("compiled_anew")
    Path("my.py").write_text(NETWORK)
    options = (
        *("--data", "digits", "--model", "my.py:network", "--validation-split", "0.5", "--batch-size", "449"),
        *("--epochs", "2"),
    )
    first = ["--backend", backend, *options, "--out", "first"]
    second = ["--from", "first", "--trust-code", "--out", "second"]  # with the cache off it is not noted that it ran
    both = "-c", ONE_AFTER_THE_OTHER, json.dumps([first, second])  # where the import takes seconds
    if backend == "jax":
        processes.run(*TRAIN, *first, check=True)
        # One that is not forked, so that its sets of texts have another order.
        done = subprocess.run([sys.executable, *TRAIN, *second], check=True, capture_output=True, text=True)
    elif backend in processes.MODULES:
        done = processes.run(*both, backend=backend, check=True)
    else:
        done = subprocess.run([sys.executable, *both], check=True, capture_output=True, text=True)
    assert "same   every loss and metric" in done.stdout
    assert_same_bits("first", "second")


@pytest.mark.slow
def test_a_terminal_shows_a_table_and_the_time_left():
    main, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    options = "--model", "logistic", "--epochs", "300", "--validation-split", "0.2"
    process = processes.Process(*TRAIN, *options, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = read_all(main, process)
    assert process.returncode == 0
    lines = re.split(r"[\r\n]+", shown)
    header = next(i for i, line in enumerate(lines) if "val_accuracy" in line)
    assert "300 epochs" in shown.replace("/", " ")
    assert "left" in shown
    rows = [line.split() for line in lines[header + 1 :] if line.strip()[:1].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, 301))
    assert {len(row) for row in rows} == {7}  # epoch, four figures, time and its unit


def read_all(main, process):
    """What a process shows on a terminal, without the control sequences that draw the bar."""
    shown = b""
    while True:
        readable, _, _ = select.select([main], [], [], 0.1)
        if readable:
            try:
                shown += os.read(main, 65536)
            except OSError:  # Linux's end of a terminal
                break
        elif process.poll() is not None:
            break
        else:
            time.sleep(0.01)
    process.wait()
    os.close(main)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
