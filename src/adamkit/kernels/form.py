"""How a parameter, its gradient and its moments are stored, which is what a kernel is made for."""

import functools
from typing import NamedTuple

import torch

from adamkit import rounding
from adamkit.moments import second_format
from adamkit.variants import ADAM, Variant

PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)  # a subclass may mean anything by its memory


class Form(NamedTuple):
    """How parameters and moments are stored, and which variant a step is; there is one kernel for each form."""

    parameter: str = "float32"  # dtype of θ
    moments: str = "float32"  # one of `moments.FORMATS`, of m; float64 for float64 parameters
    rounding: str = "nearest"  # one of `rounding.ROUNDINGS`, for bfloat16 and float16 parameters
    amsgrad: bool = False
    gradient: str | None = None  # dtype of g, where it is another
    variant: Variant = ADAM

    def columns(self) -> dict[str, torch.dtype | None]:
        """What a step needs of each parameter, in the kernel's order, with its dtype; None: a number, no tensor."""
        return _columns(self)

    def format_of(self, moment: str) -> str:
        """How a moment is stored, "first", "second" or "largest": one of `moments.FORMATS`."""
        return self.moments if moment == "first" else second_format(self.moments, self.amsgrad, self.variant.blockwise)

    def arithmetic(self) -> torch.dtype:
        """float64 for float64, float32 for 32 bits or less, and their complex counterparts."""
        return _WIDE.get(self.parameter, torch.float32)

    def is_narrow(self) -> bool:
        """Whether anything is stored at less than the width of the arithmetic."""
        return self.parameter in rounding.NARROW or self.moments != "float32"

    def is_random(self) -> bool:
        """Whether the parameter is rounded by random bits, which need a key: see `rounding.random_key`."""
        return self.parameter in rounding.NARROW and self.rounding in ("compensated8", "stochastic")

    def name(self) -> str:
        """In letters, digits and hyphens, for people and files."""
        parts = [self.parameter, f"{self.moments}-moments"]
        if self.parameter in rounding.NARROW:
            parts.append(self.rounding)
        if self.amsgrad:
            parts.append("amsgrad")
        if self.variant != ADAM:
            parts.append(self.variant.name())
        if self.gradient is not None:
            parts.append(f"{self.gradient}-gradients")
        return "-".join(parts)


_WIDE = {"float64": torch.float64, "complex128": torch.complex128}
_WIDE |= dict.fromkeys(("complex32", "complex64"), torch.complex64)


@functools.cache
def _columns(form: Form) -> dict[str, torch.dtype | None]:
    parameter = getattr(torch, form.parameter)
    stored = {"float32": form.arithmetic(), "bfloat16": torch.bfloat16, "int8": torch.uint8}
    gradient = parameter if form.gradient is None else getattr(torch, form.gradient)
    columns: dict[str, torch.dtype | None] = {"parameter": parameter, "gradient": gradient}
    names = ("first", "second", "largest") if form.amsgrad else ("first", "second")
    columns.update({name: stored[form.format_of(name)] for name in names})
    columns.update({f"{name}_scale": torch.uint8 for name in names if form.format_of(name) == "int8"})
    if form.parameter in rounding.NARROW:
        remainder = rounding.remainder_dtype(form.parameter, form.rounding)
        if remainder is not None:
            columns["remainder"] = getattr(torch, remainder)
    if form.variant.blockwise:
        columns["width"] = None
    if form.is_random():
        columns["key"] = None
    return columns
