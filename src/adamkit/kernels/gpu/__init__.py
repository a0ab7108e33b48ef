"""Adam's step as one launch on a GPU, in one pass over memory, for any number of tensors: Triton, on CUDA and ROCm.

The same arithmetic in the same order as in the CPU kernel, an element at a time, so that every step from the same
state gives the same bits there and here, whatever the GPU; of a NaN only that it is one. No step waits for the device.
"""

from adamkit.kernels.form import Form
from adamkit.kernels.gpu.fits import applies
from adamkit.kernels.gpu.launch import step, step_at
from adamkit.kernels.gpu.table import Tables

__all__ = ["Form", "Tables", "applies", "step", "step_at"]
