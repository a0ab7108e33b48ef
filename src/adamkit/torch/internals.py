"""Each reach into what PyTorch does not make public: see `tests/pytorch/test_internals.py`."""

# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

# Operations on lists of tensors, each one call for all of them. They are documented, but their names begin with `_`.
foreach_add = torch._foreach_add
foreach_add_ = torch._foreach_add_
foreach_copy_ = torch._foreach_copy_
foreach_div = torch._foreach_div
foreach_maximum = torch._foreach_maximum
foreach_minimum = torch._foreach_minimum
foreach_mul = torch._foreach_mul
foreach_sqrt = torch._foreach_sqrt
foreach_sub = torch._foreach_sub

outside_of_graphs = torch._disable_dynamo  # `torch.compiler.disable` that imports the compiler only when it is called


def load_hooks(optimizer: Optimizer) -> tuple[Iterable[Callable[..., Any]], Iterable[Callable[..., Any]]]:
    """What `register_load_state_dict_pre_hook` and `_post_hook` have registered."""
    before: dict[Any, Any] = optimizer._optimizer_load_state_dict_pre_hooks
    after: dict[Any, Any] = optimizer._optimizer_load_state_dict_post_hooks
    return before.values(), after.values()
