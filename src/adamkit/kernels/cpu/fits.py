"""Which tensors the kernel can step."""

import functools
import platform
from collections.abc import Sequence

import torch

from adamkit import moments, rounding
from adamkit.kernels.form import PLAIN_TYPES, Form
from adamkit.kernels.layout import gradient_fits, lie_alike, width_of_blocks

DTYPES = ("float32", "float64", *rounding.NARROW)  # of parameters


def applies(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on the CPU, dense, of the form's dtypes.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
    return (
        has_kernel(form)
        and all(tensor.is_cpu for tensor in tensors)
        and lie_alike(form, tensors)
        and not (form.variant.blockwise and form.moments == "int8" and _rows_share_scales(tensors[0]))
    )


def _rows_share_scales(parameter: torch.Tensor) -> bool:
    """Whether a block of int8, which has one scale, holds elements of two of those that have one v."""
    width = width_of_blocks(parameter)
    return width < parameter.numel() and width % moments.BLOCK != 0


def applies_to_rows(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step_rows` can step rows of these: contiguous, and stored in no way that goes by the place in the whole.

    Args:
        form: How the parameter is stored.
        tensors: One for each of the form's columns: of the gradient (n, …), of all others whole.
    """
    parameter, gradient, *state = tensors
    return (
        has_rows_kernel(form)
        and parameter.is_contiguous()
        and rows_fit(form, parameter, gradient)
        and applies(form._replace(gradient=None), (parameter, parameter, *state))  # one of the gradient's size
    )


def rows_fit(form: Form, parameter: torch.Tensor, gradient: torch.Tensor) -> bool:
    """Whether a gradient (n, …) of some rows is what `applies_to_rows` asks for."""
    return (
        type(gradient) in PLAIN_TYPES
        and gradient.is_cpu
        and gradient.is_contiguous()
        and not gradient.is_neg()
        and gradient.numel() > 0
        and gradient.dtype is form.columns()["gradient"]
        and gradient.shape[1:] == parameter.shape[1:]
    )


def has_kernel(form: Form) -> bool:
    """Whether there is a kernel for this form on this processor."""
    if form.parameter not in DTYPES or (form.parameter == "float64" and form.moments != "float32"):
        return False
    return gradient_fits(form) and (form.parameter != "float16" or _has_float16())


def has_rows_kernel(form: Form) -> bool:
    """Whether there is one for rows, to which nothing may go by the place in the whole."""
    by_place = form.moments == "int8" or form.is_random() or form.variant.blockwise
    return not by_place and has_kernel(form)


@functools.cache
def _has_float16() -> bool:
    """Whether the processor converts between float16 and float32."""
    import llvmlite.binding as llvm  # which only float16 needs here

    return platform.machine().lower() in ("arm64", "aarch64") or bool(llvm.get_host_cpu_features().get("f16c"))
