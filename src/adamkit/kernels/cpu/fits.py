"""Which tensors the kernel can step."""

import functools
import platform
from collections.abc import Sequence

import torch

from adamkit import rounding
from adamkit.kernels.form import Form
from adamkit.kernels.layout import gradient_fits, lie_alike

DTYPES = ("float32", "float64", *rounding.NARROW)  # of parameters


def applies(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on the CPU, dense, of the form's dtypes.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
    return has_kernel(form) and all(tensor.is_cpu for tensor in tensors) and lie_alike(form, tensors)


def has_kernel(form: Form) -> bool:
    """Whether there is a kernel for this form on this processor."""
    if form.variant.blockwise:  # a v that many elements share
        return False
    if form.parameter not in DTYPES or (form.parameter == "float64" and form.moments != "float32"):
        return False
    return gradient_fits(form) and (form.parameter != "float16" or _has_float16())


@functools.cache
def _has_float16() -> bool:
    """Whether the processor converts between float16 and float32."""
    import llvmlite.binding as llvm  # which only float16 needs here

    return platform.machine().lower() in ("arm64", "aarch64") or bool(llvm.get_host_cpu_features().get("f16c"))
