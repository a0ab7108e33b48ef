"""A group whose learning rate is found while training."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from adamkit import prodigy, rule
from adamkit.prodigy import Estimate

STATE = ("start", "weighted_sum")  # of a parameter: θ₀ and s


@contextlib.contextmanager
def found_rate(group: dict[str, Any], state_of: dict[Tensor, dict[str, Any]]) -> Iterator[None]:
    """Around a step of the group: in it `found` is d after it, which is `lr` afterwards; nothing where it is not auto.

    Each group has its own d. Where no parameter has a gradient it stays.
    """
    if not group["auto"]:
        yield
        return
    present = [parameter for parameter in group["params"] if parameter.grad is not None]
    before = Estimate(float(group["lr"]), group.get("agreement", 0.0))
    after = _advanced(group, before, present, state_of) if present else before
    group["found"] = after.distance
    try:
        yield
    finally:
        del group["found"]
    group["lr"], group["agreement"] = after


def _advanced(group: dict[str, Any], before: Estimate, present: list[Tensor], state_of: dict[Tensor, Any]) -> Estimate:
    first, second = (rule.Decay.of(float(beta)) for beta in group["betas"])
    step = 1 + max(int(state_of[parameter].get("step", 0)) for parameter in present)
    correction = math.sqrt(rule.bias_correction(step, second)) / rule.bias_correction(step, first)
    weight, root = prodigy.weight(before.distance, correction), math.sqrt(second.beta)
    sign = -1.0 if group["maximize"] else 1.0
    sums: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for parameter in present:
            own, gradient = state_of[parameter], parameter.grad
            dtype = torch.promote_types(parameter.dtype, torch.float32)
            wide, gradient = parameter.detach().to(dtype), gradient.to(dtype)  # pyright: ignore[reportOptionalMemberAccess]
            start, s = own.get("start"), own.get("weighted_sum")
            start = parameter.detach().clone() if start is None else start
            s = torch.zeros_like(wide) if s is None else s
            agreement = (gradient * (start.to(dtype) - wide)).sum()
            s.mul_(root).add_(gradient, alpha=sign * weight)
            own["start"], own["weighted_sum"] = start, s
            sums.append((agreement, s.abs().sum()))
        totals = [float(torch.stack([one.double() for one in part]).sum()) for part in zip(*sums, strict=True)]
    return prodigy.advanced(before, sign * weight * totals[0], totals[1], root)
