"""Adam's step as one parallel pass over memory, for any number of tensors on the CPU.

`rule.update` is the formula; this is the same arithmetic in the same order, one element at a time, so that each of
θ, g, m and v is read once and θ, m and v are written once, in the form in which they are stored: the parameter at any
width, with what its rounding keeps beside it (`adamkit.rounding`), and the moments in any format (`adamkit.moments`).
There is no fused multiply-add and no reordering: an element's bits depend neither on its neighbours nor on how many
threads share the work.
"""

from importlib.util import find_spec

from adamkit.kernels.cpu.fits import DTYPES, applies, applies_to_rows, rows_fit
from adamkit.kernels.cpu.launch import compile_kernels, nonfinite, step, step_at, step_rows
from adamkit.kernels.form import Form

__all__ = [
    "DTYPES", "Form", "applies", "applies_to_rows", "compile_kernels", "nonfinite", "rows_fit", "step", "step_at",
    "step_rows",
]  # fmt: skip

if find_spec("numba") is None:  # found out now, not in the first step: who can do without imports this in a `try`
    raise ImportError("Adam's kernel for the CPU needs Numba. Install it with: pip install 'adamkit[torch]'")
