"""One model on several devices, each kind in a process of its own, where the devices are set before Keras is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "environment"),
    [
        ("on_four_devices", {"KERAS_BACKEND": "jax", "JAX_NUM_CPU_DEVICES": "4"}),
        ("on_two_replicas", {"KERAS_BACKEND": "tensorflow"}),
    ],
)
def test_it_is_what_it_is_on_one(module, environment):
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", f"tests.lab.training.{module}"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
