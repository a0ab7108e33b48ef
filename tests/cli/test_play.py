"""`adamkit play`: a server that ends with Ctrl-C, and what it says where it cannot begin."""

import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.slow
def test_it_serves_the_page_until_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "adamkit", "play", "--no-browser", "--epochs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            address = process.stdout.readline().removeprefix("play ").strip()
            with urllib.request.urlopen(address, timeout=60) as page:
                assert "<title>adamkit play</title>" in page.read().decode()
            with urllib.request.urlopen(f"{address}api/events?tab=t", timeout=60) as stream:  # a tab that stays open
                assert stream.readline() == b"retry: 500\n"
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_said(command_line, tmp_path):
    code, _, errors = command_line("play", "--learning-rate", "-1")
    assert (code, errors) == (
        2,
        "adamkit: --learning-rate must be a finite number >= 0. Received: --learning-rate=-1.0\n",
    )
    code, _, errors = command_line("play", tmp_path)
    assert code == 2
    assert "a run folder must hold a file run.json" in errors
    code, _, errors = command_line("play", "--no-browser", "--port", "70000")
    assert (code, errors) == (2, "adamkit: port must be a whole number from 0 to 65535. Received: port=70000\n")
