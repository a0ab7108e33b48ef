"""The kernel among processes: a shared cache on disk, forks, and no Numba."""

import importlib
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from adamkit.kernels.cpu import launch
from adamkit.torch import Adam

pytestmark = pytest.mark.slow  # seconds, all in all


def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_step(tmp_path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(occupied / "cache"))
    launch._kernel.cache_clear()
    x = torch.nn.Parameter(torch.ones(100_000))
    x.grad = torch.ones_like(x)
    Adam([x], lr=0.5).step()
    assert launch._kernel.cache_info().misses == 1
    assert torch.equal(x.data, torch.full_like(x, 0.5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_start_at_once_share_the_cache_and_a_child_that_one_forks_can_step_too(tmp_path):
    code = """
        import os, signal, sys, numba, torch
        from adamkit.torch import Adam

        def forked(act, seconds):
            child = os.fork()
            if child == 0:  # one that steps after its parent may hang in PyTorch's own parallel operations
                signal.alarm(seconds)
                try:
                    act()
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
                os._exit(0)
            return child

        def is_well(child):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        def step_before_and_after_a_fork():
            torch.set_num_threads(2)
            x = torch.nn.Parameter(torch.ones(100_000))
            x.grad = torch.ones_like(x)
            optimizer = Adam([x], lr=0.25)

            def step(expected):
                optimizer.step()
                assert abs(x.detach().numpy() - expected).max() < 1e-6

            step(0.75)
            assert is_well(forked(lambda: step(0.5), 60))
            step(0.5)

        children = [forked(step_before_and_after_a_fork, 600) for _ in range(2)]
        assert all([is_well(child) for child in children])
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".o"]


def test_without_numba_there_is_no_kernel(monkeypatch):
    for name in [*sys.modules, "numba"]:
        if name.partition(".")[0] == "numba":
            monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
        if name.startswith("adamkit.kernels.cpu"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="needs Numba"):
        importlib.import_module("adamkit.kernels.cpu")
