"""Schedule-free: the parameters as y, where gradients are taken, and as x, the average that is to be used."""

from typing import Any

import torch
from torch import Tensor

from adamkit import rule
from adamkit.torch.operations import read, written
from adamkit.torch.state import slot_of


def use_averages(group: dict[str, Any], first_index: int, state_of: dict[Tensor, dict[str, Any]], on: bool) -> None:
    """Make the parameters of a group x, or y again, if its steps are schedule-free and they are not that already."""
    if not group["schedule_free"] or group.get("averaged", False) == on:
        return
    with torch.no_grad():
        for index, parameter in enumerate(group["params"], first_index):
            if state := state_of.get(parameter):
                slot = slot_of(parameter, parameter, state, group, index)
                wide, _, lead, *_ = read(slot)  # x - y stands in place of m
                new = rule.Update(wide + lead if on else wide - lead, None, None, None)
                for old, value in written(slot, new, group["rounding_seed"], int(state["step"])):
                    old.copy_(value)
                torch.autograd.graph.increment_version(parameter)
    group["averaged"] = on


def refuse_averages(group: dict[str, Any]) -> None:
    """Raise where the parameters of a group are x, from which no step starts."""
    if group["schedule_free"] and group.get("averaged", False):
        raise RuntimeError("A step starts from the parameters of training: call train() of the optimizer after eval()")


def add_weight(group: dict[str, Any]) -> None:
    """Count a step that was done in the average's sum of weights."""
    group["weight_sum"] = group.get("weight_sum", 0.0) + rule.averaging_weight(float(group["lr"]))
