"""What the kernel needs of PyTorch and Numba that they do not make public: a release that breaks it is named here."""

import ctypes
import sys

import llvmlite.binding as llvm
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
    function = llvm.parse_assembly(source).get_function(name)
    assert not function.is_declaration
    assert [str(argument.type) for argument in function.arguments] == ["ptr"] * 3  # result, exception, job
