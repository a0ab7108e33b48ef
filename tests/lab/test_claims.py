"""One process at a time in a folder."""

import os
import subprocess
import sys

import pytest

from adamkit.lab.claims import LOCK, Claim, claimed
from adamkit.lab.errors import InputError
from adamkit.lab.runs.folder import RunFolder

# Claims a folder when it is told to, says what came of it, and keeps it until it is told again.
ANOTHER = """
import sys
from pathlib import Path
from adamkit.lab.errors import InputError
from adamkit.lab.runs.folder import RunFolder
print("ready", flush=True)
sys.stdin.readline()
try:
    folder = RunFolder.create(sys.argv[1])
    print("has it", flush=True)
except InputError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def others():
    """Starts processes that wait to be told."""
    started = []

    def start(folder, number):
        command = [sys.executable, "-c", ANOTHER, str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.extend(subprocess.Popen(command, **pipes) for _ in range(number))
        assert [process.stdout.readline() for process in started] == ["ready\n"] * number
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=600)


@pytest.mark.tried(
    "three processes with one `--out`, one of them killed",
    "one has it, the others are told; after the kill it can be taken",
)
@pytest.mark.skipif(os.name == "nt", reason="needs the locks of POSIX")
def test_of_several_processes_one_has_a_folder_until_it_dies(others, tmp_path):
    folder = tmp_path / "a" / "run"
    processes = others(folder, 3)
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in processes]
    assert said.count("has it") == 1
    winner = processes[said.index("has it")]
    for answer in set(said) - {"has it"}:
        assert "run is in use by another process" in answer
    with pytest.raises(InputError, match=f"in use by another process, number {winner.pid}"):
        RunFolder.create(folder)
    (folder / "run.json").write_text('{"settings": {}}')
    with pytest.raises(InputError, match=f"in use by another process, number {winner.pid}"):
        RunFolder.take_up(folder)
    winner.kill()
    winner.wait(600)
    with RunFolder.take_up(folder) as run:
        assert run.read_record() == {"settings": {}}
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_within_a_process_a_claim_lasts_until_the_last_is_given_back(tmp_path):
    with claimed(tmp_path / "new"):
        first, second = Claim(tmp_path / "new"), Claim(tmp_path / "new" / ".." / "new")
        first.release()
        first.release()  # once is enough
    assert (tmp_path / "new" / LOCK).exists()
    del second
    assert not (tmp_path / "new" / LOCK).exists()


def test_what_a_dead_process_left_is_taken_and_a_link_is_not_followed(tmp_path):
    (tmp_path / LOCK).write_text("number 1 on a machine of before\n")
    with claimed(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"number {os.getpid()} on ")
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        Claim(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
