"""One model on several devices, each kind in a process of its own, where the devices are set before they are used."""

import os
from pathlib import Path

import pytest

from tests import processes

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "backend", "environment"),
    [("on_four_devices", "jax", {"JAX_NUM_CPU_DEVICES": "4"}), ("on_two_replicas", "tensorflow", {})],
)
def test_it_is_what_it_is_on_one(module, backend, environment):
    done = processes.run("-m", f"tests.lab.training.{module}", backend=backend, cwd=ROOT, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-4000:]
