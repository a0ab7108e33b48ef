"""Adam's step as one parallel pass over memory, for any number of tensors on the CPU.

`rule.update` is the formula; this is the same arithmetic in the same order, one element at a time, so that each of
θ, g, m and v is read once and θ, m and v are written once, in the form in which they are stored: the parameter at any
width, with what its rounding keeps beside it (`adamkit.rounding`), and the moments in any format (`adamkit.moments`).
There is no fused multiply-add and no reordering: an element's bits depend neither on its neighbours nor on how many
threads share the work.

All tensors of a step are one range of elements, cut into equal pieces whatever the sizes of the tensors. The threads
are those of PyTorch's own OpenMP runtime where it can be found, which costs microseconds and never competes with the
threads of the backward pass; elsewhere, and in a forked child (where that runtime may hang), they are Python threads
that run without the interpreter lock. Each thread takes the next piece until none is left.
"""

import ctypes
import functools
import os
import platform
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adamkit import moments, rounding, rule
from adamkit.kernels import machine_code
from adamkit.kernels.machine_code import Kernel

PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)
_DTYPES = ("float32", "float64", *rounding.NARROW)
_SMALLEST_PIECE = 16 * 1024  # elements: below it, waking a thread costs more than it saves
_LARGEST_PIECE = 128 * 1024  # elements: small enough that a thread that is held up delays the others little

# A job is one array of int64: this header, then for each column of the form an address (or number) of each tensor, then
# the sizes of the tensors, then where each begins in the range of all elements, and where the range ends.
NEXT_PIECE, TENSORS, PIECE, COEFFICIENTS, STEP, HEADER = range(6)


class Form(NamedTuple):
    """How parameters and moments are stored; there is one kernel for each form."""

    parameter: str = "float32"  # dtype of θ
    moments: str = "float32"  # one of `moments.FORMATS`; float64 for float64 parameters
    rounding: str = "nearest"  # one of `rounding.ROUNDINGS`, for bfloat16 and float16 parameters
    amsgrad: bool = False
    gradient: str | None = None  # dtype of g, where it is another

    def columns(self) -> dict[str, torch.dtype | None]:
        """What a step needs of each parameter, in the kernel's order, with its dtype; None: a number, no tensor."""
        return _columns(self)

    def arithmetic(self) -> torch.dtype:
        """float64 for float64, float32 for 32 bits or less, and their complex counterparts."""
        return _WIDE.get(self.parameter, torch.float32)

    def is_narrow(self) -> bool:
        """Whether anything is stored at less than the width of the arithmetic."""
        return self.parameter in rounding.NARROW or self.moments != "float32"


_WIDE = {"float64": torch.float64, "complex128": torch.complex128}
_WIDE |= dict.fromkeys(("complex32", "complex64"), torch.complex64)


@functools.cache
def _columns(form: Form) -> dict[str, torch.dtype | None]:
    parameter = getattr(torch, form.parameter)
    moment = {"float32": form.arithmetic(), "bfloat16": torch.bfloat16, "int8": torch.uint8}[form.moments]
    gradient = parameter if form.gradient is None else getattr(torch, form.gradient)
    columns: dict[str, torch.dtype | None] = {"parameter": parameter, "gradient": gradient}
    names = ("first", "second", "largest") if form.amsgrad else ("first", "second")
    columns.update(dict.fromkeys(names, moment))
    if form.moments == "int8":
        columns.update({f"{name}_scale": torch.uint8 for name in names})
    if form.parameter in rounding.NARROW:
        remainder = rounding.remainder_dtype(form.parameter, form.rounding)
        if remainder is not None:
            columns["remainder"] = getattr(torch, remainder)
        if form.rounding in _RANDOM:
            columns["key"] = None
    return columns


_RANDOM = ("compensated8", "stochastic")  # roundings that need a key; see `rounding.random_key`


def applies(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on the CPU, dense, of the form's dtypes.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
    if form.parameter not in _DTYPES or (form.parameter == "float64" and form.moments != "float32"):
        return False
    if form.gradient is not None and (form.gradient != "float32" or form.parameter not in rounding.NARROW):
        return False
    if form.parameter == "float16" and not _has_float16():
        return False
    parameter = tensors[0]
    if type(parameter) not in PLAIN_TYPES or parameter.layout is not torch.strided:
        return False
    layout = torch.contiguous_format
    if not parameter.is_contiguous():
        # Blocks and random numbers go by the position in the tensor, not by that in memory.
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
        if layout is None or form.moments == "int8" or form.rounding in _RANDOM:
            return False
    size = parameter.numel()
    columns = [(name, dtype) for name, dtype in form.columns().items() if dtype is not None]
    for tensor, (name, dtype) in zip(tensors, columns, strict=True):
        if (
            type(tensor) not in PLAIN_TYPES
            or tensor.dtype is not dtype
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
            or tensor.is_neg()
        ):
            return False
        if name.endswith("_scale"):
            if tensor.numel() != moments.blocks(size) or not tensor.is_contiguous():
                return False
        elif tensor.numel() != size or not tensor.is_contiguous(memory_format=layout):
            return False
    return True


@functools.cache
def _has_float16() -> bool:
    """Whether the processor converts between float16 and float32."""
    import llvmlite.binding as llvm

    return platform.machine().lower() in ("arm64", "aarch64") or bool(llvm.get_host_cpu_features().get("f16c"))


def step(
    form: Form,
    columns: Sequence[Sequence[torch.Tensor] | Sequence[int]],
    coefficients: rule.Coefficients,
    threads: int,
    *,
    number: int = 0,
    maximize: bool = False,
) -> None:
    """One step of Adam, in place, on tensors for which `applies` is true.

    Args:
        form: How they are stored.
        columns: For each of the form's columns a list with one entry a parameter: tensors, or the numbers of "key".
            Gradients are only read. Autograd is not told that the parameters change; see
            `torch.autograd.graph.increment_version`.
        coefficients: The numbers of this step, as Python floats.
        threads: At most so many threads share the work; the result is the same bits for any number.
        number: t >= 1, the number of the step, for narrow moments.
        maximize: Climb the gradient instead of descending it.
    """
    sizes = [parameter.numel() for parameter in columns[0]]  # pyright: ignore[reportAttributeAccessIssue]
    addresses = [[x if isinstance(x, int) else x.data_ptr() for x in column] for column in columns]
    step_at(form, sizes, addresses, coefficients, threads, number=number, maximize=maximize)


def step_at(
    form: Form,
    sizes: Sequence[int],
    columns: Sequence[Sequence[int]],
    coefficients: rule.Coefficients,
    threads: int,
    *,
    number: int = 0,
    maximize: bool = False,
) -> None:
    """`step` for a caller that has the addresses at hand.

    Args:
        form: How the tensors are stored.
        sizes: The number of elements of each parameter.
        columns: As in `step`, with addresses in bytes in place of tensors.
        coefficients: The numbers of this step, as Python floats.
        threads: At most so many threads share the work.
        number: t, the number of the step.
        maximize: Climb the gradient instead of descending it.
    """
    first, second = coefficients.first_decay, coefficients.second_decay
    first_forward, second_forward = first.beta >= 0.5, second.beta >= 0.5  # as in `rule.moving_average`
    scalars = array(
        "d" if form.parameter == "float64" else "f",
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
    unit = moments.BLOCK if form.moments == "int8" else 1  # what no two threads may share
    starts = list(accumulate((-(-size // unit) * unit for size in sizes) if unit > 1 else sizes, initial=0))
    total = starts[-1]
    threads = max(1, min(threads, total // _SMALLEST_PIECE))
    piece = min(-(-total // threads), _LARGEST_PIECE) if threads > 1 else max(total, 1)
    piece = -(-piece // unit) * unit
    job = array("q", (0, len(sizes), piece, scalars.buffer_info()[0], number))
    job.extend(chain(*columns, sizes, starts))
    _run(_kernel(form), job.buffer_info()[0], threads)


@functools.cache
def _kernel(form: Form) -> Kernel:
    """The compiled kernel for one form."""

    def build() -> Any:
        from adamkit.kernels import cpu_source  # and with it Numba, which a process that finds the kernel does not need

        return cpu_source.build(form)

    parts = [form.parameter, f"{form.moments}-moments"]
    if form.parameter in rounding.NARROW:
        parts.append(form.rounding)
    if form.amsgrad:
        parts.append("amsgrad")
    if form.gradient is not None:
        parts.append(f"{form.gradient}-gradients")
    here = Path(__file__)
    sources = [here, *(here.with_name(name) for name in ("cpu_source.py", "blocks_source.py"))]
    return machine_code.kernel("-".join(["adam", *parts]), sources, build)


def compile_kernels(*, moment_dtype: str = "float32", parameter_rounding: str = "compensated") -> None:
    """Compile kernels now, or load them from the disk cache, rather than in the first step that needs them.

    There is one for each way to store parameters and moments; these are compiled for every dtype of parameters, with
    and without AMSGrad. Each takes about a second.

    Args:
        moment_dtype: How the optimizers will store the moments, one of `adamkit.moments.FORMATS`.
        parameter_rounding: And narrow parameters, one of `adamkit.rounding.ROUNDINGS`.

    Raises:
        ValueError: An argument has another value.
    """
    moments.check_format("moment_dtype", moment_dtype)
    rounding.check_rounding("parameter_rounding", parameter_rounding)
    for dtype in _DTYPES:
        if (dtype == "float64" and moment_dtype != "float32") or (dtype == "float16" and not _has_float16()):
            continue
        narrow = dtype in rounding.NARROW
        for storage in {"float32", moment_dtype}:  # small tensors stay float32
            for amsgrad in (False, True):
                _kernel(Form(dtype, storage, parameter_rounding if narrow else "nearest", amsgrad))


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
