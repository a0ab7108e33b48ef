"""A step: one launch of the kernel of its form."""

import contextlib
import functools
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from adamkit import rounding, rule
from adamkit.kernels.form import Form
from adamkit.kernels.gpu.source import adam
from adamkit.kernels.gpu.table import TILE, Table, table
from adamkit.kernels.scalars import COUNT, scalars

THREADS = 256  # of a tile: four elements each, which are 16 bytes of float32


def step(
    form: Form,
    columns: Sequence[Sequence[Tensor] | Sequence[int]],
    coefficients: rule.Coefficients,
    *,
    number: int = 0,
    maximize: bool = False,
    seed: int = 0,
) -> None:
    """One step of Adam, in place, on tensors for which `applies` is true.

    Args:
        form: How they are stored.
        columns: For each of the form's columns a list with one entry a parameter: tensors, or for "key" the parameter's
            place among those of its optimizer. Gradients are only read. Autograd is not told that parameters change.
        coefficients: The numbers of this step, as Python floats.
        number: t >= 1, the number of the step, for narrow moments.
        maximize: Climb the gradient instead of descending it.
        seed: Of the random bits of parameters.
    """
    sizes = [parameter.numel() for parameter in columns[0]]  # pyright: ignore[reportAttributeAccessIssue]
    if not sizes:
        return
    addresses = [[x if isinstance(x, int) else x.data_ptr() for x in column] for column in columns]
    made = table(form, sizes, addresses, columns[0][0].device)  # pyright: ignore[reportAttributeAccessIssue]
    step_at(form, made, coefficients, number=number, maximize=maximize, seed=seed)


def step_at(
    form: Form,
    tensors: Table,
    coefficients: rule.Coefficients,
    *,
    number: int | Tensor = 0,
    maximize: bool = False,
    seed: int = 0,
) -> None:
    """`step` of the tensors of a table; it does not wait for the device.

    Args:
        form: How the tensors are stored.
        tensors: Where they are.
        coefficients: The numbers of this step. Where `number` is a tensor, those that depend on it are such tensors too
            (or 0-d ones, or floats), and the others Python floats.
        number: t, the number of the step; or (tensors,) on the device, that of each parameter.
        maximize: Climb the gradient instead of descending it.
        seed: Of the random bits of parameters.
    """
    if tensors.tiles == 0:
        return
    if not isinstance(number, Tensor):
        _run(form, tensors, scalars(coefficients, maximize, form.parameter), number, seed)
        return
    each = torch.ones_like(number)  # one number of all becomes one of each
    changing = (coefficients.step_size * each, coefficients.epsilon * each, coefficients.shrinkage * each)
    fixed = scalars(coefficients._replace(step_size=0.0, epsilon=0.0, shrinkage=0.0), maximize, form.parameter)
    of_each = torch.stack(changing, 1).to(torch.float32)
    _run(form, tensors, fixed, 0, seed, (number.to(torch.int32), of_each))


@functools.cache
def compiles(form: Form, device: torch.device) -> bool:
    """Whether the kernel of a form compiles for a device. If not, a warning says why; nothing is stepped either way."""
    try:
        _run(form, table(form, [0], [[0]] * len(form.columns()), device), (0.0,) * COUNT)
    except Exception as error:  # of Triton's compiler, of LLVM, of the assembler, or of the C compiler that it calls
        warnings.warn(
            f"Adam's kernel for GPUs does not compile, and the step is done by PyTorch's operations, which is slower. "
            f"{type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _run(
    form: Form,
    tensors: Table,
    numbers: tuple[float, ...],
    number: int = 0,
    seed: int = 0,
    of_each: tuple[Tensor, Tensor] | None = None,
) -> None:
    device, kernel = tensors.rows.device, cast(Any, adam)
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        kernel[(tensors.tiles,)](
            tensors.owners,
            tensors.rows,
            *((tensors.owners, tensors.rows) if of_each is None else of_each),
            _signed(number),
            _signed(seed),
            *numbers,
            **constants(form),
            ON_DEVICE=of_each is not None,
            **options(warp_size(device)),
        )


def constants(form: Form) -> dict[str, object]:
    """What the kernel of a form is compiled for."""
    return {
        "PARAMETER": form.parameter,
        "GRADIENT": form.gradient or form.parameter,
        "FIRST": form.format_of("first"),
        "SECOND": form.format_of("second"),
        "ROUNDING": form.rounding if form.parameter in rounding.NARROW else "nearest",
        "AMSGRAD": form.amsgrad,
        "TILE": TILE,
    }


def options(warp: int) -> dict[str, object]:
    """How it is compiled, for warps of so many threads: products and sums stay apart, for the bits of the CPU."""
    return {"num_warps": THREADS // warp, "enable_fp_fusion": False}


def warp_size(device: torch.device) -> int:
    """Threads of a warp."""
    return torch.cuda.get_device_properties(device).warp_size if device.type == "cuda" else 32


def _signed(number: int) -> int:
    """The int32 with the bits of a whole number modulo 2³²."""
    return (number + 2**31) % 2**32 - 2**31
