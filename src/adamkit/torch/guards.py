"""Which gradient is not finite, before a step changes anything."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from adamkit.kernels import cpu
from adamkit.kernels.form import PLAIN_TYPES


def first_nonfinite(groups: list[dict[str, Any]]) -> tuple[str, Tensor] | None:
    """The first parameter, in words, whose gradient has a NaN or an infinity, and that; None where all are finite.

    Gradients on the CPU are read by one kernel, the last first, so that those read last, which the step needs first,
    are still in the cache then.
    """
    plain: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    others: dict[torch.device, list[tuple[int, Tensor]]] = defaultdict(list)
    names = []
    for group in groups:
        for place, parameter in enumerate(group["params"]):
            named = group.get("param_names")
            names.append((named[place] if named else f"params[{len(names)}]", parameter))
            if (gradient := parameter.grad) is None:
                continue
            values = gradient if gradient.layout is torch.strided else gradient.coalesce().values()
            dtype = str(values.dtype).removeprefix("torch.")
            if type(values) in PLAIN_TYPES and values.is_cpu and values.is_contiguous() and dtype in cpu.DTYPES:
                plain[dtype].append((len(names) - 1, values))
            else:
                others[values.device].append((len(names) - 1, values))
    found = []
    for dtype, gradients in plain.items():
        tensors = [gradient for _, gradient in reversed(gradients)]
        bad = cpu.nonfinite(dtype, tensors, torch.get_num_threads())
        found += [index for (index, _), is_bad in zip(reversed(gradients), bad, strict=True) if is_bad]
    for gradients in others.values():  # one look at each device
        finite = torch.stack([torch.isfinite(gradient).all() for _, gradient in gradients]).tolist()
        found += [index for (index, _), is_finite in zip(gradients, finite, strict=True) if not is_finite]
    return names[min(found)] if found else None
