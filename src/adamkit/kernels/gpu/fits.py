"""Which tensors the kernel can step."""

from collections.abc import Sequence

import torch

from adamkit import rounding
from adamkit.kernels.form import Form
from adamkit.kernels.gpu.launch import compiles
from adamkit.kernels.layout import gradient_fits, lie_alike
from adamkit.variants import ADAM

DTYPES = ("float32", *rounding.NARROW)  # of parameters


def applies(form: Form, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether `step` can take these tensors of one parameter: plain, on one GPU, dense, of the form's dtypes.

    The first call for a form compiles its kernel. Where that fails, it warns and is false from then on.

    Args:
        form: How they are stored.
        tensors: One for each of the form's columns that is a tensor, in that order.
    """
    device = tensors[0].device
    return (
        form.parameter in DTYPES
        and form.variant == ADAM
        and gradient_fits(form)
        and device.type == "cuda"
        and all(tensor.device == device for tensor in tensors)
        and lie_alike(form, tensors)
        and compiles(form, device)
    )
