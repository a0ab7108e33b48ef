"""The numbers of a group's step that are the same for every element."""

import functools
import math
from typing import Any

import torch

from adamkit import rule


def coefficients(group: dict[str, Any], step: Any, xp: Any = math) -> rule.Coefficients:
    """For step number `step` of a group: a float, or a float64 tensor, of any shape, with `xp=torch`."""
    beta_1, beta_2 = group["betas"]
    lr = group["lr"]
    if xp is not torch:
        lr = float(lr)
    elif isinstance(lr, torch.Tensor):
        lr = lr.reshape(())
    return rule.coefficients(
        step,
        lr,
        _decay(float(beta_1)),
        _decay(float(beta_2)),
        group["eps"],
        group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        xp=xp,
    )


_decay = functools.lru_cache(rule.Decay.of)
