"""Adam for PyTorch: a drop-in for `torch.optim.Adam` and `torch.optim.AdamW`.

Parameters on the CPU are stepped by one parallel pass over memory (`adamkit.kernels.cpu`); everything else by PyTorch's
own operations, through `adamkit.rule`.
"""

from adamkit.kernels.cpu import compile_kernels
from adamkit.torch.adam import Adam
from adamkit.torch.watching import watch

__all__ = ["Adam", "compile_kernels", "watch"]

Adam.__module__ = __name__  # the name under which optimizers are pickled, wherever the class stands
