"""The command line in the tests' own process."""

import sys

import pytest

from adamkit import cli
from adamkit.lab import interrupts
from adamkit.lab.insight import reports


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Runs `adamkit` with arguments: (exit code, standard output, standard error)."""

    def end_at_once(status):
        sys.exit(status)  # without ending the tests too

    monkeypatch.setattr(interrupts, "leave", end_at_once)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["adamkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def no_report(monkeypatch):
    """Its charts take seconds to draw, and it has tests of its own."""
    monkeypatch.setattr(reports, "attempt", lambda make, folder, warn: None)
