"""Two array namespaces for `adamkit.rule`: a tensor, and a list of tensors that are stepped at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamkit.torch.internals import foreach_add, foreach_div, foreach_maximum, foreach_mul, foreach_sqrt, foreach_sub


class OneTensor:
    """The array namespace of one tensor."""

    maximum = staticmethod(torch.maximum)

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

    def __add__(self, other: Any) -> "Tensors":
        return Tensors(foreach_add(self.tensors, _bare(other)))

    def __sub__(self, other: Any) -> "Tensors":
        return Tensors(foreach_sub(self.tensors, _bare(other)))

    def __mul__(self, other: Any) -> "Tensors":
        return Tensors(foreach_mul(self.tensors, _bare(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Tensors":
        return Tensors(foreach_div(self.tensors, _bare(other)))

    @staticmethod
    def sqrt(x: "Tensors") -> "Tensors":
        """Of each element; see `OneTensor.sqrt`."""
        if x.tensors[0].is_cpu:
            return Tensors(list(map(OneTensor.sqrt, x.tensors)))
        return Tensors(foreach_sqrt(x.tensors))

    @staticmethod
    def maximum(x: "Tensors", y: "Tensors") -> "Tensors":
        """The larger of each two elements; NaN where one is NaN."""
        return Tensors(foreach_maximum(x.tensors, y.tensors))


def _bare(operand: Any) -> Any:
    return operand.tensors if isinstance(operand, Tensors) else operand
