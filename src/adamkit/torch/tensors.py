"""Two array namespaces for `adamkit.rule`: a tensor, and a list of tensors that are stepped at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamkit.torch.internals import (
    foreach_add,
    foreach_div,
    foreach_maximum,
    foreach_minimum,
    foreach_mul,
    foreach_sqrt,
    foreach_sub,
)


class OneTensor:
    """The array namespace of one tensor."""

    @staticmethod
    def maximum(x: Tensor, y: Tensor | float) -> Tensor:
        """The larger of each two elements, or of each and a number; NaN where one is NaN."""
        return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp(x, min=y)

    @staticmethod
    def minimum(x: Tensor, y: Tensor | float) -> Tensor:
        """The smaller of each two elements, or of each and a number; NaN where one is NaN."""
        return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp(x, max=y)

    @staticmethod
    def where(condition: Tensor, x: Tensor | float, y: Tensor) -> Tensor:
        """`x` where the condition holds, else `y`."""
        return torch.where(condition, x, y)

    @staticmethod
    def sign(x: Tensor) -> Tensor:
        """-1, 0 or 1."""
        return torch.sign(x)

    @staticmethod
    def exp(x: Tensor) -> Tensor:
        """eˣ."""
        return torch.exp(x)

    @staticmethod
    def sum(x: Tensor, axis: tuple[int, ...], keepdims: bool) -> Tensor:
        """Along some axes."""
        return torch.sum(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def sqrt(x: Tensor) -> Tensor:
        """The nearest number to √x. PyTorch's own is not always that on the CPU, where it may be MKL's."""
        if not x.is_cpu or x.requires_grad or type(x) is not Tensor:
            return torch.sqrt(x)
        with np.errstate(invalid="ignore"):
            return torch.from_numpy(np.asarray(np.sqrt(x.numpy())))


class Tensors:
    """A list of tensors with the arithmetic that `rule.update` needs, each operation one call for all of them.

    It is its own array namespace, so that the rule is written once.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    @property
    def dtype(self) -> torch.dtype:
        """That of all of them."""
        return self.tensors[0].dtype

    def __add__(self, other: Any) -> "Tensors":
        return Tensors(foreach_add(self.tensors, _bare(other)))

    def __sub__(self, other: Any) -> "Tensors":
        return Tensors(foreach_sub(self.tensors, _bare(other)))

    def __mul__(self, other: Any) -> "Tensors":
        return Tensors(foreach_mul(self.tensors, _bare(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Tensors":
        return Tensors(foreach_div(self.tensors, _bare(other)))

    def __le__(self, other: float) -> "Tensors":
        return Tensors([tensor <= other for tensor in self.tensors])

    def __gt__(self, other: float) -> "Tensors":
        return Tensors([tensor > other for tensor in self.tensors])

    @staticmethod
    def where(condition: "Tensors | Tensor", x: "Tensors | float", y: "Tensors") -> "Tensors":
        """`x` where the condition, of each element or of all, holds, else `y`."""
        where: Any = torch.where
        conditions, values = (
            part.tensors if isinstance(part, Tensors) else [part] * len(y.tensors) for part in (condition, x)
        )
        return Tensors(list(map(where, conditions, values, y.tensors)))

    @staticmethod
    def sign(x: "Tensors") -> "Tensors":
        """-1, 0 or 1."""
        return Tensors(list(map(OneTensor.sign, x.tensors)))

    @staticmethod
    def sqrt(x: "Tensors | Tensor") -> Any:
        """Of each element, or of a number of the step; see `OneTensor.sqrt`."""
        if isinstance(x, Tensor):
            return torch.sqrt(x)
        if x.tensors[0].is_cpu:
            return Tensors(list(map(OneTensor.sqrt, x.tensors)))
        return Tensors(foreach_sqrt(x.tensors))

    @staticmethod
    def maximum(x: "Tensors", y: "Tensors | Tensor | float") -> "Tensors":
        """The larger of each two elements, or of each and a number; NaN where one is NaN."""
        if isinstance(y, Tensor):
            return Tensors([torch.maximum(tensor, y.to(tensor.dtype)) for tensor in x.tensors])
        return Tensors(foreach_maximum(x.tensors, _bare(y)))

    @staticmethod
    def minimum(x: "Tensors", y: "Tensors | Tensor | float") -> "Tensors":
        """The smaller of each two elements, or of each and a number; NaN where one is NaN."""
        if isinstance(y, Tensor):
            return Tensors([torch.minimum(tensor, y.to(tensor.dtype)) for tensor in x.tensors])
        return Tensors(foreach_minimum(x.tensors, _bare(y)))


def _bare(operand: Any) -> Any:
    return operand.tensors if isinstance(operand, Tensors) else operand
