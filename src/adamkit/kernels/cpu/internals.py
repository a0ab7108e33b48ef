"""Each reach of the kernel into what PyTorch and Numba do not make public: see `tests/kernels/test_internals.py`."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def openmp() -> Callable[..., None] | None:
    """`GOMP_parallel(function, data, threads, flags)` of the OpenMP runtime that PyTorch has loaded; None without."""
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return parallel


def native_function(dispatcher: Any) -> tuple[str, str]:
    """The name and the LLVM source of what Numba has compiled for its one signature.

    Numba's calling convention is `int32 name(result *, exception *, arguments…)`.
    """
    ((signature, overload),) = dispatcher.overloads.items()
    return overload.fndesc.llvm_func_name, dispatcher.inspect_llvm(signature)
