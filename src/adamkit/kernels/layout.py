"""How tensors have to lie in memory for a kernel."""

from collections.abc import Sequence

import torch

from adamkit import moments, rounding
from adamkit.blockwise import FIRST, shape_of_blocks
from adamkit.kernels.form import PLAIN_TYPES, Form


def lie_alike(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether the tensors of one parameter are plain, dense and of the form's dtypes, with their elements in one order.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
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
            or tensor.layout is not torch.strided
            or tensor.is_neg()
        ):
            return False
        if name.endswith("_scale"):
            if tensor.dim() != 1 or tensor.numel() != moments.blocks(size) or not tensor.is_contiguous():
                return False
        elif form.variant.blockwise and name in ("second", "largest"):
            if tensor.shape != shape_of_blocks(parameter.shape, FIRST) or not tensor.is_contiguous():
                return False
        elif tensor.numel() != size or not tensor.is_contiguous(memory_format=layout):
            return False
    return True


def width_of_blocks(parameter: torch.Tensor) -> int:
    """With `blockwise`, how many elements share one v: those of one index of the first axis, or of a vector all."""
    rows = len(parameter) if parameter.dim() > 1 else 1
    return parameter.numel() // max(rows, 1)


def gradient_fits(form: Form) -> bool:
    """Whether the gradient has the parameter's dtype, or is float32 beside a narrow parameter."""
    return form.gradient is None or (form.gradient == "float32" and form.parameter in rounding.NARROW)
