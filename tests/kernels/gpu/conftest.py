"""The GPU's kernel on the CPU, by Triton's interpreter; with TRITON_INTERPRET=0, the same tests on a GPU."""

import os
from importlib.util import find_spec

import numpy as np
import pytest

collect_ignore_glob = [] if find_spec("triton") else ["test_*"]  # there is none for this system


@pytest.fixture(scope="package")
def device():
    """Where the tensors are that the kernel steps."""
    return "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"


@pytest.fixture(scope="package", autouse=True)
def _interpreter(device):
    """The interpreter looks up all of Triton again for every function that a kernel calls; once is enough."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):  # it computes in NumPy
        if device == "cpu":
            from triton.runtime.interpreter import InterpretedFunction

            patch.setattr(
                InterpretedFunction, "__call__", lambda self, *args, **kwargs: self.rewrite()(*args, **kwargs)
            )
        yield
