"""One step of one group: each parameter by one pass over memory where a kernel takes it, else by operations."""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamkit import rounding
from adamkit.kernels import cpu
from adamkit.kernels.form import PLAIN_TYPES, Form
from adamkit.torch.coefficients import coefficients
from adamkit.torch.internals import foreach_add_
from adamkit.torch.operations import step_by_operations
from adamkit.torch.state import Slot, slot_of, state_names


def step_group(
    group: dict[str, Any], first_index: int, state_of: dict[Tensor, dict[str, Any]], verified: dict[int, "Verified"]
) -> None:
    """Step every parameter of a group that has a gradient.

    Args:
        group: Of `torch.optim.Optimizer.param_groups`.
        first_index: The place of its first parameter among all of the optimizer's.
        state_of: The state of each parameter, which is begun, brought into the group's form and stepped.
        verified: Those of the parameters that one pass over memory stepped the last time, by `id`; kept up to date.
    """
    plain = not group["differentiable"]
    in_one_pass: dict[tuple[Form, float], list[tuple[int, ...]]] = defaultdict(list)
    by_operations: dict[tuple[Any, ...], list[Slot]] = defaultdict(list)
    options = (group["moment_dtype"], group["parameter_rounding"], group["amsgrad"])
    parameters, steps = [], []
    for index, parameter in enumerate(group["params"], first_index):
        gradient = parameter.grad
        if gradient is None:
            continue
        state = state_of[parameter]
        known = verified.get(id(parameter))
        row = None  # what one pass over memory needs to know of this parameter
        if known is not None and plain and known.options == options:
            row = known.row(parameter, gradient, state)
        if known is not None and row is not None:
            in_one_pass[known.form, state["step"].item()].append((*row, index))
        else:
            verified.pop(id(parameter), None)
            slot = slot_of(parameter, gradient, state, group, index)
            step = state["step"]
            if plain and step.is_cpu and cpu.applies(slot.form, slot.tensors):
                addresses = [tensor.data_ptr() for tensor in slot.tensors]
                in_one_pass[slot.form, step.item()].append((slot.tensors[0].numel(), *addresses, index))
                if slot.tensors[0] is parameter and parameter.is_contiguous():
                    verified[id(parameter)] = Verified.of(slot, addresses, options)
            else:
                by_operations[_kind(slot, step)].append(slot)
        parameters.append(parameter)
        steps.append(state["step"])
    for (form, done), rows in in_one_pass.items():
        sizes, *columns, indices = zip(*rows, strict=True)
        number = int(done) + 1
        if form.is_random():
            key = rounding.random_key(group["rounding_seed"], number, np.array(indices, np.int32), np)
            columns.append(key.tolist())
        k = coefficients(group, done + 1)
        threads = torch.get_num_threads()
        cpu.step_at(form, sizes, columns, k, threads, number=number, maximize=group["maximize"])
    for (done, *_), slots in by_operations.items():
        with torch.set_grad_enabled(not plain):
            step_by_operations(slots, group, done)
    _advance(steps, group)
    if plain and parameters:
        torch.autograd.graph.increment_version(parameters)


def refuse_sparse(group: dict[str, Any]) -> None:
    """Raise if a gradient is sparse and the group is not `lazy`."""
    if group["lazy"]:
        return
    for index, parameter in enumerate(group["params"]):
        if (gradient := parameter.grad) is not None and gradient.layout is not torch.strided:
            raise RuntimeError(
                "Adam does not support sparse gradients, please consider SparseAdam instead, or lazy=True. Received: "
                f"a gradient of layout {gradient.layout} for params[{index}], of shape {tuple(parameter.shape)}"
            )


class Verified(NamedTuple):
    """A parameter that one pass over memory can step, and what that depends on."""

    options: tuple[Any, ...]
    form: Form
    dtype: torch.dtype
    size: int
    parameter: int  # its address
    names: tuple[str, ...]  # of what is in its state
    state: list[int]  # their addresses

    @classmethod
    def of(cls, slot: Slot, addresses: list[int], options: tuple[Any, ...]) -> "Verified":
        """The parameter of a slot whose tensors lie at these addresses."""
        parameter = slot.tensors[0]
        names = state_names(slot.form)
        return cls(options, slot.form, parameter.dtype, parameter.numel(), addresses[0], names, addresses[2:])

    def row(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> list[int] | None:
        """Its size and the addresses of all tensors of its step; None if anything but the gradient's has changed."""
        if len(state) <= len(self.names):
            return None
        held = [state[name].data_ptr() for name in self.names]
        if (
            held == self.state
            and parameter.data_ptr() == self.parameter
            and parameter.dtype is self.dtype
            and parameter.numel() == self.size
            and parameter.is_contiguous()
            and type(gradient) is Tensor
            and gradient.dtype is self.dtype
            and gradient.is_cpu
            and gradient.layout is torch.strided
            and gradient.numel() == self.size
            and gradient.is_contiguous()
            and not gradient.is_neg()
        ):
            return [self.size, self.parameter, gradient.data_ptr(), *held]
        return None


def _kind(slot: Slot, step: Tensor) -> tuple[Any, ...]:
    """Steps done, and what else tensors have in common that one call can step together; unique where none can."""
    if not step.is_cpu:
        return (step,)
    parameter, gradient, *_ = slot.tensors
    if type(parameter) in PLAIN_TYPES and gradient.layout is torch.strided:
        return (step.item(), slot.form, parameter.device, gradient.dtype)
    return (step.item(), id(parameter))


def _advance(steps: list[Tensor], group: dict[str, Any]) -> None:
    """Add 1 to the step counters."""
    if steps:
        if group["capturable"]:
            foreach_add_(steps, 1)
        else:
            foreach_add_(steps, _ONE, alpha=1.0)  # much faster on the CPU than adding a Python number


_ONE = torch.tensor(1.0)
