"""Each example runs, some with less to do: as a script, in a process of its own, or where that is enough, in ours."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests import processes

EXAMPLES = Path(__file__).parents[1] / "examples"


def shortened(name: str, less: Mapping[str, str]) -> str:
    """The example's text, with parts replaced by others that take less time."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for part, other in less.items():
        assert text.count(part) == 1, part
        text = text.replace(part, other)
    return text


def run(name: str, backend: str = "jax", less: Mapping[str, str] = MappingProxyType({})) -> str:
    """What the example prints in a process of its own, which has TensorFlow if that is its backend.

    `keras.utils.set_random_seed` imports TensorFlow where it is installed, which takes as long as all the rest.
    """
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if backend == "tensorflow":
        done = processes.run("-c", shortened(name, less), backend=backend, env=environment)
    else:
        code = "import sys; sys.modules['tensorflow'] = None\n" + shortened(name, less)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_here(name: str, *arguments: str, less: Mapping[str, str] = MappingProxyType({})) -> str:
    """What the example prints in this process, where Keras on JAX has been imported."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [name, *arguments])
        exec(compile(shortened(name, less), name, "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_keras_quickstart_trains_on_every_backend(backend):
    pytest.importorskip(backend)
    # Of random rows few epochs learn little: at the larger rate more than by which the loss is up and down.
    less = {"epochs=50": "epochs=5", "rate=0.001": "rate=0.01"}
    is_here = backend == os.environ["KERAS_BACKEND"]
    printed = (run_here if is_here else functools.partial(run, backend=backend))("keras_quickstart.py", less=less)
    assert "Epoch 5/5" in printed
    # Keras shows an epoch's last line once or twice, padded where a longer one stood there.
    losses = [float(re.findall(r"loss: (\d\.\d+)", epoch)[-1]) for epoch in printed.split("Epoch ")[1:]]
    assert len(losses) == 5
    assert losses[-1] < losses[0]


def test_numpy_adam_finds_the_line():
    printed = run("numpy_adam.py")
    slope, intercept = map(float, re.findall(r"-?\d+\.\d+", printed))
    assert slope == pytest.approx(3, abs=0.1)
    assert intercept == pytest.approx(-0.5, abs=0.1)


@pytest.mark.slow
def test_lab_train_reads_digits():
    printed = run_here("lab_train.py")
    assert float(printed.split()[-1]) > 0.9


@pytest.mark.slow
def test_sweep_digits_finds_a_setting_that_reads_digits_and_leaves_its_report(tmp_path):
    printed = run_here("sweep_digits.py", str(tmp_path / "sweep"), less={"}, 256)": "}, 16)"})
    assert "16 of 16 settings" in printed
    assert float(printed.split()[-1]) > 0.95
    assert "<html" in (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_optuna_batch_learns_from_one_batch_to_the_next():
    printed = run_here("optuna_batch.py", less={"epochs=10": "epochs=2"})
    best = [float(value) for value in re.findall(r"best so far (\d+\.\d+)", printed)]
    assert len(best) == 4
    assert best[-1] < best[0]
