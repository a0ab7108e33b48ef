"""Which tensors the kernel can step."""

import functools
import platform
from collections.abc import Sequence

import torch

from adamkit import moments, rounding
from adamkit.kernels.form import PLAIN_TYPES, Form

DTYPES = ("float32", "float64", *rounding.NARROW)  # of parameters


def applies(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on the CPU, dense, of the form's dtypes.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
    if not has_kernel(form):
        return False
    parameter = tensors[0]
    if type(parameter) not in PLAIN_TYPES or parameter.layout is not torch.strided:
        return False
    layout = torch.contiguous_format
    if not parameter.is_contiguous():
        # Blocks and random numbers go by the position in the tensor, not by that in memory.
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
        if layout is None or form.moments == "int8" or form.is_random():
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


def has_kernel(form: Form) -> bool:
    """Whether there is a kernel for this form on this processor."""
    if form.parameter not in DTYPES or (form.parameter == "float64" and form.moments != "float32"):
        return False
    if form.gradient is not None and (form.gradient != "float32" or form.parameter not in rounding.NARROW):
        return False
    return form.parameter != "float16" or _has_float16()


@functools.cache
def _has_float16() -> bool:
    """Whether the processor converts between float16 and float32."""
    import llvmlite.binding as llvm  # which only float16 needs here

    return platform.machine().lower() in ("arm64", "aarch64") or bool(llvm.get_host_cpu_features().get("f16c"))
