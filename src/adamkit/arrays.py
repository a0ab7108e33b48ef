"""The operations on bits that `moments.py` and `rounding.py` need, under Keras's names for every array library."""

import contextlib
import functools
import math
from typing import Any

import numpy as np

from adamkit.rule import Array


def namespace(xp: Any) -> Any:
    """`numpy`, `jax.numpy` or `torch` with `view`, `cast` and `positions`; `keras.ops` with `positions`.

    The functions that all four have under one name are there too: `where`, `isnan`, `minimum`, `bitwise_and`,
    `bitwise_left_shift` and so on.

    Args:
        xp: One of the four modules.

    Example:
        >>> import numpy
        >>> xp = namespace(numpy)
        >>> hex(xp.view(numpy.ones(1, "float32"), "int32")[0])
        '0x3f800000'
    """
    return _namespace(xp)


@functools.cache
def _namespace(xp: Any) -> Any:
    return {"keras.ops": _Keras, "torch": _Torch}.get(xp.__name__, _NumPy)(xp)


class _NumPy:
    """NumPy, or `jax.numpy`."""

    def __init__(self, module: Any):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def view(self, array: Array, dtype: str) -> Array:
        """The same bits, as another type of the same width."""
        return array.view(self._dtype(dtype))

    def cast(self, array: Array, dtype: str) -> Array:
        """The same numbers, rounded to the nearest (ties to even); integers modulo 2ⁿ."""
        with np.errstate(all="ignore"):  # a number that is too large is infinite, as on the other backends
            return self._module.asarray(array).astype(self._dtype(dtype))

    def positions(self, array: Array) -> Array:
        """0, 1, 2, …: int32, one for each element, (size,) or of the array's shape; from 2³¹ on, modulo 2³²."""
        if self._module.__name__ == "jax.numpy" and array.ndim > 2:
            # By axes, so that XLA computes of a sharded array the places of its part.
            *rows, columns = array.shape
            rows = self._module.arange(math.prod(rows), dtype="int32").reshape(*rows, 1)
            return rows * columns + self._module.arange(columns, dtype="int32")
        return self.cast(self._module.arange(math.prod(array.shape)), "int32")

    def pad(self, array: Array, count: int) -> Array:
        """(n,) as (n + count,), with zeros at the end."""
        return self._module.pad(array, ((0, count),))

    def largest_in_rows(self, rows: Array) -> Array:
        """(…, 4·k) int32 numbers from 0 to 255 as (…,): the largest of each row."""
        if isinstance(rows, np.ndarray):
            return rows.max(axis=-1)
        return _largest_in_rows_of_jax(rows)

    def _dtype(self, name: str) -> Any:
        if name == "bfloat16":
            import ml_dtypes

            return ml_dtypes.bfloat16
        return name


class _Torch(_NumPy):
    def cast(self, array: Array, dtype: str) -> Array:
        return self._module.as_tensor(array).to(self._dtype(dtype))

    def minimum(self, array: Array, limit: Any) -> Array:
        return (
            self._module.clamp(array, max=limit)
            if isinstance(limit, (int, float))
            else self._module.minimum(array, limit)
        )

    def maximum(self, array: Array, limit: Any) -> Array:
        return (
            self._module.clamp(array, min=limit)
            if isinstance(limit, (int, float))
            else self._module.maximum(array, limit)
        )

    def sqrt(self, array: Array) -> Array:
        """The root, rounded to the nearest.

        On the CPU PyTorch takes that of Intel's MKL, where on some processors one in five is off by one in the last
        bit. NumPy's is right, but nothing that traces or differentiates sees it.
        """
        torch = self._module
        plain = type(array) is torch.Tensor and not array.requires_grad and not torch.compiler.is_compiling()
        if plain and array.device.type == "cpu" and array.dtype in (torch.float32, torch.float64):
            with contextlib.suppress(RuntimeError):  # a tensor without memory of its own, as inside of `torch.vmap`
                root = torch.empty_like(array)
                np.sqrt(array.numpy(), out=root.numpy())
                return root
        return torch.sqrt(array)

    def positions(self, array: Array) -> Array:
        return self.cast(self._module.arange(math.prod(array.shape), device=array.device), "int32")

    def pad(self, array: Array, count: int) -> Array:
        return self._module.nn.functional.pad(array, (0, count))

    def largest_in_rows(self, rows: Array) -> Array:
        return self._module.amax(rows, dim=-1)

    def _dtype(self, name: str) -> Any:
        return getattr(self._module, name)


class _Keras(_NumPy):
    def view(self, array: Array, dtype: str) -> Array:
        return self._module.view(array, dtype)

    def cast(self, array: Array, dtype: str) -> Array:
        return self._module.cast(array, dtype)

    def reshape(self, array: Array, shape: Any) -> Array:
        return self._module.reshape(array, tuple(-1 if size is None else size for size in shape))

    def positions(self, array: Array) -> Array:
        size = self._module.size(array) if None in array.shape else math.prod(array.shape)  # None: TensorFlow's graphs
        return self._module.arange(size, dtype="int32")

    def largest_in_rows(self, rows: Array) -> Array:
        if self._module.__name__ == "keras.ops" and type(rows).__module__.startswith("jax"):
            return _largest_in_rows_of_jax(rows)
        return self._module.max(rows, axis=-1)


def _largest_in_rows_of_jax(rows: Array) -> Array:
    """Each row's largest, in a way that XLA on the CPU compiles to vector code.

    Fused with what computes the rows, or with what reads the result, a maximum over the last axis is a loop over single
    elements, ten times as slow. XLA fuses nothing across a change of a number's width, so there is one before and one
    after, which costs a byte an element to write and read.
    """
    import jax

    bits = jax.lax.bitcast_convert_type
    words = bits(rows.astype("uint8").reshape(*rows.shape[:-1], -1, 4), "int32")
    first, second, third, last = ((words >> shift) & 0xFF for shift in (0, 8, 16, 24))
    largest = jax.numpy.maximum(jax.numpy.maximum(first, second), jax.numpy.maximum(third, last)).max(axis=-1)
    return bits(bits(largest, "uint8"), "int32")
