"""A step: the job that it is, the kernel of its form, and the threads that share it."""

import ctypes
import functools
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch

from adamkit import arrays, blockwise, moments, rounding, rule, variants
from adamkit.kernels import form as forms
from adamkit.kernels import layout
from adamkit.kernels import scalars as numbers_of_a_step
from adamkit.kernels.cpu import machine_code
from adamkit.kernels.cpu.fits import DTYPES, has_kernel, has_rows_kernel
from adamkit.kernels.cpu.machine_code import Kernel
from adamkit.kernels.cpu.threads import run
from adamkit.kernels.form import Form
from adamkit.kernels.scalars import scalars
from adamkit.variants import ADAM

_SMALLEST_PIECE = 16 * 1024  # elements: below it, waking a thread costs more than it saves
_LARGEST_PIECE = 128 * 1024  # elements: small enough that a thread that is held up delays the others little


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
    numbers = _numbers(form, coefficients, maximize)
    unit = moments.BLOCK if form.moments == "int8" else 1  # what no two threads may share
    starts = list(accumulate((-(-size // unit) * unit for size in sizes) if unit > 1 else sizes, initial=0))
    total = starts[-1]
    threads, piece = _shares(total, threads)
    piece = -(-piece // unit) * unit
    job = array("q", (0, len(sizes), piece, numbers.buffer_info()[0], number))
    job.extend(chain(*columns, sizes, starts))
    run(_kernel(form), job.buffer_info()[0], threads)


def step_rows(
    form: Form,
    rows: torch.Tensor,
    tensors: Sequence[torch.Tensor],
    coefficients: rule.Coefficients,
    threads: int,
    *,
    number: int = 0,
    maximize: bool = False,
    last_step: torch.Tensor | None = None,
) -> None:
    """`step` of some rows of one parameter, for which `applies_to_rows` is true.

    Args:
        form: How the parameter is stored.
        rows: (n,) int64, n >= 1, all different.
        tensors: For each of the form's columns a tensor: of the gradient (n, …), of all others whole.
        coefficients: The numbers of this step, as Python floats.
        threads: At most so many threads share the work.
        number: t, the number of the step.
        maximize: Climb the gradient instead of descending it.
        last_step: With `lazy="exact"` int32, of each row of the whole the step that its moments are as of: those of
            `rows` first decay for the steps that they missed, and their last step becomes this one.
    """
    rows = rows.contiguous()
    count, width = len(rows), tensors[1].numel() // len(rows)
    numbers = _numbers(form, coefficients, maximize)
    fading = (0, 0, 0)
    if last_step is not None:
        missed = (number - 1 - last_step.index_select(0, rows)).to(form.arithmetic())
        shares = [rule.share_left(missed, k, torch) for k in (coefficients.first_decay, coefficients.second_decay)]
        fading = last_step.data_ptr(), *[share.data_ptr() for share in shares]
    threads, piece = _shares(count * width, threads)
    job = array("q", (0, count, -(-piece // width), numbers.buffer_info()[0], number, rows.data_ptr(), width))
    job.extend(fading)
    job.extend([tensor.data_ptr() for tensor in tensors])
    run(_rows_kernel(form), job.buffer_info()[0], threads)


def _numbers(form: Form, coefficients: rule.Coefficients, maximize: bool) -> "array[float]":
    """The numbers of a step, as the form's kernel takes them."""
    numbers = array("d" if form.parameter == "float64" else "f", scalars(coefficients, maximize, form.parameter))
    if form.variant != ADAM:
        numbers.extend((coefficients.gradient_share, coefficients.root_share, coefficients.clip))
        numbers.extend(rule.shares_of_averaging(coefficients))
    return numbers


def nonfinite(dtype: str, tensors: Sequence[torch.Tensor], threads: int) -> bytes:
    """Of contiguous tensors of one dtype on the CPU, a byte each: 1 where one has a NaN or an infinity, else 0."""
    found = bytearray(len(tensors))
    flags = (ctypes.c_uint8 * len(tensors)).from_buffer(found)
    sizes = [tensor.numel() for tensor in tensors]
    starts = list(accumulate(sizes, initial=0))
    threads, piece = _shares(starts[-1], threads)
    job = array("q", (0, len(sizes), piece, ctypes.addressof(flags), 0))
    job.extend(chain((tensor.data_ptr() for tensor in tensors), sizes, starts))
    run(_finite_kernel(dtype), job.buffer_info()[0], threads)
    return bytes(found)


def _shares(total: int, threads: int) -> tuple[int, int]:
    """How many threads share so many elements, and how many of these one takes at once."""
    threads = max(1, min(threads, total // _SMALLEST_PIECE))
    return threads, min(-(-total // threads), _LARGEST_PIECE) if threads > 1 else max(total, 1)


@functools.cache
def _finite_kernel(dtype: str) -> Kernel:
    def build() -> Any:
        from adamkit.kernels.cpu import finite

        return finite.build(dtype)

    return machine_code.kernel(f"finite-{dtype}", sources(), build)


@functools.cache
def _kernel(form: Form) -> Kernel:
    """The compiled kernel for one form."""

    def build() -> Any:
        from adamkit.kernels.cpu import source  # and with it Numba, which a process that finds the kernel does not need

        return source.build(form)

    return machine_code.kernel(f"adam-{form.name()}", sources(), build)


@functools.cache
def _rows_kernel(form: Form) -> Kernel:
    """That for rows."""

    def build() -> Any:
        from adamkit.kernels.cpu import source

        return source.build_rows(form)

    return machine_code.kernel(f"adam-{form.name()}-rows", sources(), build)


def sources() -> list[Path]:
    """The files that a kernel's machine code may depend on: this folder's, and what they know of how to store."""
    modules = (forms, layout, numbers_of_a_step, moments, rounding, rule, variants, blockwise, arrays)
    return [*sorted(Path(__file__).parent.glob("*.py")), *(Path(module.__file__ or "") for module in modules)]


def compile_kernels(
    *, moment_dtype: str = "float32", parameter_rounding: str = "compensated", lazy: bool = False
) -> None:
    """Compile kernels now, or load them from the disk cache, rather than in the first step that needs them.

    There is one for each way to store parameters and moments; these are compiled for every dtype of parameters, with
    and without AMSGrad. Each takes about a second.

    Args:
        moment_dtype: How the optimizers will store the moments, one of `adamkit.moments.FORMATS`.
        parameter_rounding: And narrow parameters, one of `adamkit.rounding.ROUNDINGS`.
        lazy: Compile also those for the rows of sparse gradients.

    Raises:
        TypeError: `lazy` is not a bool.
        ValueError: An argument has another value.
    """
    moments.check_format("moment_dtype", moment_dtype)
    rounding.check_rounding("parameter_rounding", parameter_rounding)
    rule.check_flag("lazy", lazy)
    for dtype in DTYPES:
        narrow = dtype in rounding.NARROW
        for storage in {"float32", moment_dtype}:  # small tensors stay float32
            for amsgrad in (False, True):
                form = Form(dtype, storage, parameter_rounding if narrow else "nearest", amsgrad)
                if has_kernel(form):
                    _kernel(form)
                if lazy and has_rows_kernel(form):
                    _rows_kernel(form)
