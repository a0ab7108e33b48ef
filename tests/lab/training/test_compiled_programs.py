"""Compiled programs on disk: found by the next process, replaced when damaged, bounded, never in the way."""

import contextlib
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from adamkit import cache
from adamkit.lab.training import compiled_programs
from adamkit.lab.training.compiled_programs import Programs


def test_what_is_put_is_found_and_nothing_else(tmp_path):
    programs = Programs(tmp_path / "programs")
    assert programs.get("a") is None
    programs.put("a", b"1")
    programs.put("a", b"2")
    assert Programs(tmp_path / "programs").get("a") == b"2"
    assert programs.get("b") is None


@given(st.binary(min_size=1, max_size=99), st.data())
def test_a_damaged_program_is_none_and_is_replaced(tmp_path_factory, content, data):
    folder = tmp_path_factory.mktemp("programs")
    programs = Programs(folder)
    programs.put("a", content)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for damaged in (whole[:at], flipped, whole + b"?"):
        file.write_bytes(damaged)
        assert programs.get("a") is None
        programs.put("a", content)
        assert programs.get("a") == content


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=30))
def test_they_take_no_more_room_than_allowed_and_what_was_put_last_is_there(tmp_path_factory, puts):
    folder = tmp_path_factory.mktemp("programs")
    block = compiled_programs._BLOCK
    programs = Programs(folder, largest=10 * block)
    for key, blocks in puts:
        content = bytes(blocks * block - 32 if blocks else 0)  # the checksum has 32 more
        programs.put(str(key), content)
        if blocks <= 8:
            assert programs.get(str(key)) == content
        assert sum(max(path.stat().st_size, block) for path in folder.iterdir()) <= 10 * block


def test_those_used_longest_ago_make_room(tmp_path):
    programs = Programs(tmp_path, largest=10 * compiled_programs._BLOCK)
    for i in range(10):
        programs.put(str(i), b"")
        os.utime(programs._file(str(i)), (i, i))
    assert programs.get("0") == b""  # used now
    programs.put("more", b"")
    assert [name for name in ("0", *"123456789", "more") if programs.get(name) is not None] == [*"0456789", "more"]


def test_another_processor_has_programs_of_its_own(tmp_path, monkeypatch):
    programs = Programs(tmp_path)
    programs.put("a", b"avx512")
    monkeypatch.setattr(compiled_programs, "_machine", lambda: "another")
    assert programs.get("a") is None


def test_a_folder_that_cannot_be_made_or_read_is_no_error(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    programs = Programs(occupied / "programs")
    programs.put("a", b"1")
    assert programs.get("a") is None


def test_many_threads_may_write_and_read_the_same(tmp_path):
    def work(n):
        programs = Programs(tmp_path, largest=20 * compiled_programs._BLOCK)
        for i in range(30):
            programs.put(str(i % 10), bytes([i % 10]) * 5000)
            assert programs.get(str(i % 10)) in (None, bytes([i % 10]) * 5000)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


def test_jax_still_has_the_places_that_the_cache_is_put_into():
    assert {"_cache", "_cache_initialized", "get_executable_and_time"} <= set(vars(compilation_cache))
    assert CacheInterface.__abstractmethods__ <= set(dir(Programs)) | {"_path"}


def test_the_folder_is_the_users_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("ADAMKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "adamkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "adamkit"
    monkeypatch.setenv("ADAMKIT_CACHE", str(tmp_path / "own"))
    assert cache.folder() == tmp_path / "own"
    monkeypatch.setenv("ADAMKIT_CACHE", "off")
    assert cache.folder() is None


COMMAND = "from adamkit.cli import options; options.use_backend('jax')"
WITHOUT_KERAS = "from adamkit.lab.training.compiled_programs import keep_on_disk; keep_on_disk()"  # it takes seconds
COUNTING = """
    import sys
    {start}
    import jax
    events = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[2]))
    for _ in sys.stdin:
        jax.clear_caches()
        events.clear()
        jax.jit(lambda x: x * 2 + 1)(jax.numpy.ones(3)).block_until_ready()
        print(events.count("cache_hits"), events.count("cache_misses"), flush=True)
"""


@pytest.fixture
def process(tmp_path):
    """One of its own; the function that it gives says what it finds and does not find on disk, each time anew."""

    @contextlib.contextmanager
    def started(start=WITHOUT_KERAS, **variables):
        own = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_", "ADAMKIT_"))}
        own |= {"HOME": str(tmp_path / "home")} | variables
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(COUNTING).format(start=start)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, env=own, text=True, **pipes) as process:

            def count():
                process.stdin.write("\n")
                process.stdin.flush()
                return tuple(map(int, process.stdout.readline().split()))

            try:
                yield count
            finally:
                _, errors = process.communicate()
                assert (process.returncode, errors) == (0, "")

    return started


@pytest.fixture
def counted(process):
    """What a process finds and does not find on disk."""

    def run(start=WITHOUT_KERAS, **variables):
        with process(start, **variables) as count:
            return count()

    return run


@pytest.mark.slow
def test_the_next_process_compiles_nothing_and_damage_is_mended(counted, process, tmp_path):
    hits, misses = counted(COMMAND)
    assert hits == 0
    assert misses > 0
    with process() as count:
        assert count() == (misses, 0)
        files = list((tmp_path / "home" / ".cache" / "adamkit" / "programs").iterdir())
        for i, file in enumerate(files):
            content = file.read_bytes()
            file.write_bytes((content[: len(content) // 2], b"", content[:40] + b"?" + content[41:])[i % 3])
        assert count() == (0, misses)
        assert count() == (misses, 0)
        # What is whole, and yet no program.
        for file in files:
            cache.write(file, b"no program")
        assert count() == (0, misses)
    assert counted() == (misses, 0)


@pytest.mark.slow
def test_it_can_be_turned_off_and_leaves_the_users_own_cache_alone(counted, tmp_path):
    assert counted(COMMAND, ADAMKIT_CACHE="off") == (0, 0)
    assert not (tmp_path / "home").exists()
    own = tmp_path / "own"
    assert counted(JAX_COMPILATION_CACHE_DIR=str(own), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0") != (0, 0)
    assert list(own.iterdir())
    assert not (tmp_path / "home").exists()
    occupied = tmp_path / "occupied"
    occupied.write_text("no folder")
    assert counted(HOME=str(occupied))[0] == 0


@pytest.mark.slow
def test_the_lab_alone_keeps_nothing(counted):
    assert counted("from adamkit import lab; lab.train") == (0, 0)
