"""The numbers of a group's step that are the same for every element."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from adamkit import rule
from adamkit.variants import SWITCHES, Variant


def coefficients(group: dict[str, Any], step: Any, xp: Any = math) -> rule.Coefficients:
    """For step number `step` of a group: a float, or a float64 tensor, of any shape, with `xp=torch`."""
    beta_1, beta_2 = group["betas"]
    lr = group["lr"]
    if xp is not torch:
        lr = float(lr)
    elif isinstance(lr, torch.Tensor):
        lr = lr.reshape(())
    eps, scale = (group["eps"] * group["found"], lr) if group["auto"] else (group["eps"], 1.0)
    k = rule.coefficients(
        step,
        lr,
        _decay(beta_1, xp),
        _decay(beta_2, xp),
        eps,
        group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        variant=variant_of(group),
        averaging=rule.averaging(lr, group.get("weight_sum", 0.0)) if group["schedule_free"] else 0.0,
        momentum_decay=group["momentum_decay"],
        xp=xp,
    )
    return k._replace(gradient_scale=scale)


def variant_of(group: dict[str, Any]) -> Variant:
    """The switches of a group."""
    return Variant(*[group[name] for name in SWITCHES])


def has_tensors(group: dict[str, Any]) -> bool:
    """Whether autograd is to see the step as a function of the learning rate or the betas."""
    return group["differentiable"] and any(isinstance(number, Tensor) for number in (group["lr"], *group["betas"]))


def _decay(beta: Any, xp: Any) -> rule.Decay:
    if xp is torch and isinstance(beta, Tensor) and beta.requires_grad:
        beta = beta.double()
        return rule.Decay(beta, 1 - beta, beta.log())
    return _decay_of(float(beta))


_decay_of = functools.lru_cache(rule.Decay.of)
