"""The example of the documentation trains."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch_loop.py"


def test_the_training_loop_reads_digits():
    assert runpy.run_path(str(EXAMPLE))["main"]() > 0.95
