"""Adam's step as one parallel pass over memory, for any number of float32 or float64 tensors on the CPU.

`rule.update` is the formula; this is the same arithmetic in the same order, one element at a time, so that each of
θ, g, m and v is read once and θ, m and v are written once. There is no fused multiply-add and no reordering: an
element's bits depend neither on its neighbours nor on how many threads share the work.

All tensors of a step are one range of elements, cut into equal pieces whatever the sizes of the tensors. The threads
are those of PyTorch's own OpenMP runtime where it can be found, which costs microseconds and never competes with the
threads of the backward pass; elsewhere, and in a forked child (where that runtime may hang), they are Python threads
that run without the interpreter lock. Each thread takes the next piece until none is left.
"""

import ctypes
import functools
import os
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch

from adamkit import rule
from adamkit.kernels import machine_code
from adamkit.kernels.machine_code import Kernel

_ELEMENTS = {torch.float32: ("float32", "f"), torch.float64: ("float64", "d")}  # NumPy's name, `array`'s code
PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)
_SMALLEST_PIECE = 16 * 1024  # elements: below it, waking a thread costs more than it saves
_LARGEST_PIECE = 128 * 1024  # elements: small enough that a thread that is held up delays the others little

# A job is one array of int64: this header, then the addresses of all θ, all g, all m, all v, all largest v (AMSGrad),
# then where each tensor begins in the range of all elements, and where the range ends.
NEXT_PIECE, TENSORS, PIECE, COEFFICIENTS, HEADER = range(5)


def applies(parameter: torch.Tensor, *others: torch.Tensor) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on the CPU, dense, of one dtype and one layout.

    Args:
        parameter: (…,) the parameter.
        *others: (…,) its gradient and moments.
    """
    if type(parameter) not in PLAIN_TYPES or not parameter.is_cpu or parameter.layout is not torch.strided:
        return False
    dtype, size = parameter.dtype, parameter.numel()
    if dtype not in _ELEMENTS or parameter.is_neg():
        return False
    layout = torch.contiguous_format
    if not parameter.is_contiguous():
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
        if layout is None or not parameter.is_contiguous(memory_format=layout):
            return False
    for tensor in others:
        if (
            type(tensor) not in PLAIN_TYPES
            or tensor.dtype is not dtype
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
            or tensor.numel() != size
            or not tensor.is_contiguous(memory_format=layout)
            or tensor.is_neg()
        ):
            return False
    return True


def step(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    first_moments: Sequence[torch.Tensor],
    second_moments: Sequence[torch.Tensor],
    max_second_moments: Sequence[torch.Tensor] | None,
    coefficients: rule.Coefficients,
    threads: int,
    *,
    maximize: bool = False,
) -> None:
    """One step of Adam, in place, on tensors for which `applies` is true and which share one dtype.

    Args:
        parameters: θ, each (…,) float32, or each float64. Autograd is not told; see
            `torch.autograd.graph.increment_version`.
        gradients: g of each parameter. They are only read.
        first_moments: m of each parameter.
        second_moments: v of each parameter.
        max_second_moments: The largest v of each parameter (AMSGrad), or None.
        coefficients: The numbers of this step, as Python floats.
        threads: At most so many threads share the work; the result is the same bits for any number.
        maximize: Climb the gradient instead of descending it.
    """
    if not parameters:
        return
    lists = (parameters, gradients, first_moments, second_moments, max_second_moments or ())
    step_at(
        parameters[0].dtype,
        [parameter.numel() for parameter in parameters],
        [[tensor.data_ptr() for tensor in tensors] for tensors in lists],
        coefficients,
        threads,
        maximize=maximize,
    )


def step_at(
    dtype: torch.dtype,
    sizes: Sequence[int],
    addresses: Sequence[Sequence[int]],
    coefficients: rule.Coefficients,
    threads: int,
    *,
    maximize: bool = False,
) -> None:
    """`step` for a caller that has the addresses at hand.

    Args:
        dtype: Of all tensors.
        sizes: The number of elements of each parameter.
        addresses: The addresses of all θ, all g, all m, all v, and of all largest v (AMSGrad) or none, in bytes.
        coefficients: The numbers of this step, as Python floats.
        threads: At most so many threads share the work.
        maximize: Climb the gradient instead of descending it.
    """
    first, second = coefficients.first_decay, coefficients.second_decay
    first_forward, second_forward = first.beta >= 0.5, second.beta >= 0.5  # as in `rule.moving_average`
    scalars = array(
        _ELEMENTS[dtype][1],
        (
            coefficients.step_size,
            coefficients.epsilon,
            coefficients.shrinkage,
            coefficients.penalty,
            -1.0 if maximize else 1.0,
            first_forward,
            first.complement if first_forward else first.beta,
            second_forward,
            second.complement if second_forward else second.beta,
        ),
    )
    count = len(sizes)
    starts = list(accumulate(sizes, initial=0))
    total = starts[-1]
    threads = max(1, min(threads, total // _SMALLEST_PIECE))
    piece = min(-(-total // threads), _LARGEST_PIECE) if threads > 1 else max(total, 1)
    parameters, gradients, first_moments, second_moments, max_second_moments = addresses
    job = array("q", (0, count, piece, scalars.buffer_info()[0]))
    job.extend(chain(parameters, gradients, first_moments, second_moments, max_second_moments or (0,) * count, starts))
    _run(_kernel(dtype, bool(max_second_moments)), job.buffer_info()[0], threads)


@functools.cache
def _kernel(dtype: torch.dtype, amsgrad: bool) -> Kernel:
    """The compiled kernel for one element type, with or without AMSGrad."""

    def build() -> Any:
        from adamkit.kernels import cpu_source  # and with it Numba, which a process that finds the kernel does not need

        return cpu_source.build(_ELEMENTS[dtype][0], amsgrad)

    name = f"adam-{_ELEMENTS[dtype][0]}{'-amsgrad' if amsgrad else ''}"
    here = Path(__file__)
    return machine_code.kernel(name, [here, here.with_name("cpu_source.py")], build)


def compile_kernels() -> None:
    """Compile all kernels now, or load them from the disk cache, rather than in the first step that needs them."""
    for dtype in _ELEMENTS:
        for amsgrad in (False, True):
            _kernel(dtype, amsgrad)


# Threads ------------------------------------------------------------------------------------------------------------


def _run(kernel: Kernel, job: int, threads: int) -> None:
    """Let so many threads work on the job, this one among them."""
    if threads == 1:
        kernel.call(job)
        return
    parallel = None if _forked else _openmp()
    if parallel is not None:
        parallel(kernel.address, job, threads, 0)
    else:
        _run_on_python_threads(kernel, job, threads)


@functools.cache
def _openmp() -> Callable[..., None] | None:
    """`GOMP_parallel(function, data, threads, flags)` of the OpenMP runtime that PyTorch has loaded; None without."""
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return parallel


_waiting: list[queue.SimpleQueue] = []  # the job queues of the Python threads that have nothing to do
_forked = False


def _run_on_python_threads(kernel: Kernel, job: int, threads: int) -> None:
    done: queue.SimpleQueue = queue.SimpleQueue()
    helpers = [_helper() for _ in range(threads - 1)]
    for helper in helpers:
        helper.put((kernel, job, done))
    kernel.call(job)
    for _ in helpers:
        done.get()
    _waiting.extend(helpers)


def _helper() -> queue.SimpleQueue:
    """The job queue of a thread that has nothing to do; the caller alone has it until it puts it back."""
    try:
        return _waiting.pop()
    except IndexError:
        jobs: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_help, args=(jobs,), name="adamkit", daemon=True).start()
        return jobs


def _help(jobs: queue.SimpleQueue) -> None:
    while True:
        kernel, job, done = jobs.get()
        kernel.call(job)
        done.put(None)


def _forget_threads() -> None:
    """After a fork, in the child: no thread but this one exists, and OpenMP may wait for the lost ones for ever."""
    global _forked
    _forked = True
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
