"""Requests to end: what they do before, while and after something is trained."""

import signal
from types import SimpleNamespace

import pytest

from adamkit.lab import interrupts
from adamkit.lab.interrupts import Ending, cleaned_up_by, ctrl_c_asks


class LeftError(Exception):
    pass


@pytest.fixture
def ending(monkeypatch):
    def leave(status):
        raise LeftError(status)

    monkeypatch.setattr(interrupts, "leave", leave)
    before = signal.signal(signal.SIGINT, own := Ending())
    yield own
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_before_training_it_ends_at_once_and_cleans_up_the_innermost_first(ending):
    done = []
    with (
        cleaned_up_by(lambda: done.append("outer")),
        cleaned_up_by(lambda: 1 / 0),
        cleaned_up_by(lambda: done.append("inner")),
        pytest.raises(LeftError, match="130"),
    ):
        press()
    assert done == ["inner", "outer"]
    with pytest.raises(LeftError):
        press()
    assert done == ["inner", "outer"]


def test_in_training_the_first_asks_and_the_second_is_pythons(ending):
    run = SimpleNamespace(interrupted=False)
    with ctrl_c_asks(run):
        press()
        assert run.interrupted
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is ending


def test_after_training_the_first_waits_and_stops_what_is_trained_next_and_the_second_ends(ending):
    with ctrl_c_asks(SimpleNamespace(interrupted=False)):
        pass
    press()
    assert ending.asked
    again = SimpleNamespace(interrupted=False)
    with ctrl_c_asks(again):
        assert again.interrupted
    with pytest.raises(LeftError):
        press()
