"""What the kernel needs of PyTorch and Numba that is not public, so that a release that breaks it is named."""

import ctypes
import sys

import numba
import pytest
import torch

from adamkit.kernels.cpu import internals


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch brings GNU's OpenMP on Linux alone")
def test_pytorch_loads_an_openmp_whose_threads_a_kernel_can_run_on():
    assert torch.backends.openmp.is_available()
    seen = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def work(job):
        seen.append(job)

    parallel = internals.openmp()
    assert parallel is not None
    parallel(ctypes.cast(work, ctypes.c_void_p), 42, 2, 0)
    assert seen == [42, 42]


def test_numba_names_what_it_compiles_and_gives_its_source():
    @numba.njit("void(CPointer(int64))", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def add_one(job):
        job[0] += 1

    name, source = internals.native_function(add_one)
    (line,) = (line for line in source.splitlines() if line.startswith("define") and name in line)
    head, _, arguments = line.partition("(")
    assert "i32" in head.split()
    assert len(arguments.partition(")")[0].split(",")) == 3  # result, exception, job
