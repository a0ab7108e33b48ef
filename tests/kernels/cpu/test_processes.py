"""The kernel among processes: a shared cache on disk, forks, and no Numba."""

import os
import subprocess
import sys
import textwrap

import pytest


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


STEP = """
    import torch
    from adamkit.torch import Adam
    torch.set_num_threads(2)
    x = torch.nn.Parameter(torch.ones(100_000))
    def step():
        x.grad = torch.ones_like(x)
        Adam([x], lr=0.5).step()
    step()
    assert torch.equal(x.data, torch.full_like(x, 0.5)), x
"""


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_step(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    result = run_python(STEP, NUMBA_CACHE_DIR=str(occupied / "cache"))
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_several_processes_that_start_at_once_share_the_cache(tmp_path):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(STEP)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert list(tmp_path.rglob("*"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_step_after_its_parent_did():
    result = run_python(
        """
        import os, signal, torch
        from adamkit.torch import Adam
        torch.set_num_threads(2)
        x = torch.nn.Parameter(torch.ones(100_000))
        x.grad = torch.ones_like(x)
        optimizer = Adam([x], lr=0.25)
        optimizer.step()
        child = os.fork()
        if child == 0:  # PyTorch's own parallel operations may hang from here on
            signal.alarm(60)
            optimizer.step()
            os._exit(0 if abs(x.detach().numpy() - 0.5).max() < 1e-6 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        optimizer.step()
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_without_numba_there_is_no_kernel():
    result = run_python(
        """
        import sys
        sys.modules["numba"] = None  # as if it were not installed
        try:
            from adamkit.kernels import cpu
        except ImportError as error:
            print(error)
        """
    )
    assert "needs Numba" in result.stdout, result.stderr
