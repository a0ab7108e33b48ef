"""A number of an optimizer that differs from member to member, where Keras's optimizers expect a Python number.

Keras computes with `self.momentum` as with any number, and JAX traces that. In two ways it is more than a traced
array: `if self.momentum != 0` must be answered while the step is traced, so that all members of a population agree on
it; and `1 - self.rho` of a Python number is exact, which a float32 difference is not (off by 1.3e-5 of it at 0.999).
"""

from typing import Any

import jax
import numpy as np

from adamkit.lab.errors import InputError


@jax.tree_util.register_pytree_node_class
class Number:
    """n numbers of one hyperparameter, none of them 0 or all; inside of `jax.vmap` one of them.

    It is a JAX pytree, whose arrays are the numbers and what is left of 1, each rounded once from float64.

    Args:
        value: (n,) float32, or a tracer of one of them.
        complement: 1 - value.
        is_zero: Whether they are 0.
        name: The hyperparameter's.
    """

    def __init__(self, value: Any, complement: Any, is_zero: bool, name: str):
        self.value, self.complement = value, complement
        self.is_zero, self.name = is_zero, name
        self.used = False  # whether a step that was traced looked at it

    @classmethod
    def of(cls, name: str, values: Any) -> "Number":
        """The numbers of some members.

        Raises:
            InputError: Some are 0 and others are not: Keras has different code for them.
        """
        values = np.asarray(values, np.float64)
        zeros = values == 0
        if zeros.any() and not zeros.all():
            raise InputError(f"{name} must be 0 for all members of a population or for none. Received: {values}")
        return cls(values.astype(np.float32), (1 - values).astype(np.float32), bool(zeros.all()), name)

    __array_ufunc__ = None  # NumPy is to leave arithmetic with its arrays to this

    # For JAX, and for `keras.ops`.

    def tree_flatten(self) -> tuple:
        """Its arrays, and what is the same for all members."""
        return (self.value, self.complement), (self.is_zero, self.name)

    @classmethod
    def tree_unflatten(cls, same: tuple, arrays: tuple) -> "Number":
        """The inverse."""
        return cls(*arrays, *same)

    def __jax_array__(self) -> Any:
        self.used = True
        return self.value

    @property
    def dtype(self) -> Any:
        """Of the number."""
        return self.value.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the number: () inside of `jax.vmap`."""
        return self.value.shape

    # Of a Python number.

    def __rsub__(self, other: Any) -> Any:
        self.used = True
        return self.complement if isinstance(other, (int, float)) and other == 1 else other - self.value

    def __eq__(self, other: Any) -> Any:
        return self._is_zero(other) if _is_zero(other) else self.__jax_array__() == other

    def __ne__(self, other: Any) -> Any:
        return not self._is_zero(other) if _is_zero(other) else self.__jax_array__() != other

    def __gt__(self, other: Any) -> Any:  # every hyperparameter is >= 0
        return not self._is_zero(other) if _is_zero(other) else self.__jax_array__() > other

    def __le__(self, other: Any) -> Any:
        return self._is_zero(other) if _is_zero(other) else self.__jax_array__() <= other

    def __lt__(self, other: Any) -> Any:
        return False if _is_zero(other) else self.__jax_array__() < other

    def __ge__(self, other: Any) -> Any:
        return True if _is_zero(other) else self.__jax_array__() >= other

    def __bool__(self) -> bool:
        return not self._is_zero(0)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def _is_zero(self, zero: Any) -> bool:
        self.used = True
        return self.is_zero

    def __neg__(self) -> Any:
        return -self.__jax_array__()

    def __add__(self, other: Any) -> Any:
        return self.__jax_array__() + other

    def __sub__(self, other: Any) -> Any:
        # What is subtracted from a momentum is 1, in Keras's Muon.
        return -(1 - self) if isinstance(other, (int, float)) and other == 1 else self.__jax_array__() - other

    def __mul__(self, other: Any) -> Any:
        return self.__jax_array__() * other

    def __truediv__(self, other: Any) -> Any:
        return self.__jax_array__() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.__jax_array__()

    def __pow__(self, other: Any) -> Any:
        return self.__jax_array__() ** other

    __radd__ = __add__
    __rmul__ = __mul__


def _is_zero(other: Any) -> bool:
    return isinstance(other, (int, float)) and other == 0
