"""What is on disk is used only where nobody else can have put it there, and damage is as good as nothing."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit import cache

STRANGER = 12345
pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as POSIX has them")


@pytest.fixture(autouse=True)
def said(monkeypatch):
    monkeypatch.setattr(cache, "_said", set())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a" / "b" / "kernel.o"
    cache.write(path, b"code")
    return path


def give_away(path, monkeypatch):
    """Make a file or folder a stranger's: only root can, and for others it is they who become the stranger."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


def test_what_is_written_is_read_and_folders_are_the_users_alone_whatever_the_umask(tmp_path):
    for umask in (0, 0o022, 0o777):
        before = os.umask(umask)
        try:
            path = tmp_path / f"{umask}" / "a" / "kernel.o"
            cache.write(path, b"code")
        finally:
            os.umask(before)
        assert cache.read(path) == b"code"
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]] == [0o700, 0o700]
        assert [entry.name for entry in path.parent.iterdir()] == ["kernel.o"]


@pytest.mark.tried(
    "compiled code of somebody else",
    "not used; nothing is written there",
)
@pytest.mark.parametrize("which", ["file", "folder", "above"])
def test_what_belongs_to_somebody_else_is_not_read_nor_written(file, monkeypatch, which):
    give_away({"file": file, "folder": file.parent, "above": file.parent.parent}[which], monkeypatch)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert cache.read(file) is None
    assert cache.read(file) is None  # said once
    if which != "file":
        with pytest.raises(cache.NotPrivateError, match="belongs to another user"):
            cache.write(file, b"mine")
        with pytest.raises(cache.NotPrivateError, match="belongs to another user"):
            cache.write(file.parent / "c" / "d" / "kernel.o", b"mine")
        assert not (file.parent / "c").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
@pytest.mark.parametrize("which", ["file", "folder", "above"])
def test_what_others_can_write_is_not_read(file, which, mode):
    place = {"file": file, "folder": file.parent, "above": file.parent.parent}[which]
    place.chmod(mode)
    if (which, mode) == ("above", 0o1777):  # as /tmp is
        assert cache.read(file) == b"code"
        return
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        assert cache.read(file) is None
    if which != "file":
        with pytest.raises(cache.NotPrivateError):
            cache.write(file, b"mine")


@pytest.mark.tried(
    "pipes and folders where compiled code should lie",
    "not used, not waited for",
)
def test_only_regular_files_are_read_and_a_pipe_is_not_waited_for(file):
    for name, make in (
        ("pipe", os.mkfifo),
        ("link", lambda path: path.symlink_to(file)),
        ("folder", lambda path: path.mkdir()),
    ):
        path = file.with_name(name)
        make(path)
        with pytest.warns(RuntimeWarning, match="no regular file"):
            assert cache.read(path) is None
    assert cache.read(file.with_name("absent")) is None


def test_a_link_in_the_path_is_followed_to_where_it_leads_before_that_is_looked_at(file, tmp_path):
    (tmp_path / "link").symlink_to(file.parent)
    assert cache.read(tmp_path / "link" / file.name) == b"code"
    file.parent.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        assert cache.read(tmp_path / "link" / file.name) is None


@given(content=st.binary(max_size=50), data=st.data())
def test_a_damaged_file_is_as_good_as_none(tmp_path_factory, content, data):
    path = tmp_path_factory.mktemp("damaged") / "kernel.o"
    cache.write(path, content)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    for damaged in (flipped, whole[:place], whole + b"\0"):
        path.write_bytes(damaged)
        assert cache.read(path) is None


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADAMKIT_CACHE", raising=False)
    for relative in ("", ".", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache.folder() == tmp_path / ".cache" / "adamkit"
    monkeypatch.setenv("HOME", "")
    assert cache.folder() is None
    monkeypatch.setenv("ADAMKIT_CACHE", "cache")
    with pytest.warns(RuntimeWarning, match="ADAMKIT_CACHE must be an absolute path.*Received: 'cache'"):
        assert cache.folder() is None
    assert not Path("cache").exists()
