"""One step of one group: each parameter by one pass over memory where a kernel takes it, else by operations."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from adamkit.kernels.form import PLAIN_TYPES
from adamkit.torch.averages import add_weight
from adamkit.torch.coefficients import variant_of
from adamkit.torch.internals import foreach_add_
from adamkit.torch.one_pass import Memory, Passes, Verified, given_by, kernel_for
from adamkit.torch.operations import step_by_operations
from adamkit.torch.state import Slot, slot_of


def step_group(group: dict[str, Any], first_index: int, state_of: dict[Tensor, dict[str, Any]], memory: Memory) -> None:
    """Step every parameter of a group that has a gradient.

    Args:
        group: Of `torch.optim.Optimizer.param_groups`.
        first_index: The place of its first parameter among all of the optimizer's.
        state_of: The state of each parameter, which is begun, brought into the group's form and stepped.
        memory: What the steps before found out; kept up to date.
    """
    plain = not group["differentiable"]
    in_one_pass = Passes()
    by_operations: dict[tuple[Any, ...], list[Slot]] = defaultdict(list)
    lazy = group["lazy"]
    options = (group["moment_dtype"], group["parameter_rounding"], group["amsgrad"], variant_of(group), lazy)
    parameters, steps = [], []
    for index, parameter in enumerate(group["params"], first_index):
        gradient = parameter.grad
        if gradient is None:
            continue
        state = state_of[parameter]
        known = memory.verified.get(id(parameter))
        given = None  # what one pass over memory needs to know of this parameter
        if known is not None and plain and known.options == options:
            given = known.given(parameter, gradient, state, lazy)
        if known is not None and given is not None:
            in_one_pass.add(known.kernel, known.form, known.device, state["step"], given, index)
        else:
            memory.verified.pop(id(parameter), None)
            slot = _coalesced(slot_of(parameter, gradient, state, group, index))
            kernel = kernel_for(slot, state["step"]) if plain else None
            if kernel is not None:
                local = slot.tensors[0]
                in_one_pass.add(kernel, slot.form, local.device, state["step"], given_by(slot), index)
                if local is parameter and parameter.is_contiguous():
                    memory.verified[id(parameter)] = Verified.of(kernel, slot, options)
            else:
                kind = _kind(slot, state["step"])
                by_operations[kind if plain else (kind[0], id(parameter))].append(slot)
        parameters.append(parameter)
        steps.append(state["step"])
    in_one_pass.run(group, first_index, memory)
    for (done, *_), slots in by_operations.items():
        with torch.set_grad_enabled(not plain):
            step_by_operations(slots, group, done)
    _advance(steps, group)
    if steps and group["schedule_free"]:
        add_weight(group)
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


def refuse_capture(group: dict[str, Any]) -> None:
    """Raise if a CUDA graph is being captured and the group's steps are counted on the host, where it cannot count."""
    if not group["capturable"] and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "A CUDA graph can hold the step of a group with capturable=True only. Received: capturable=False, during "
            "the capture of a graph"
        )


def _coalesced(slot: Slot) -> Slot:
    """With one entry a place in a sparse gradient."""
    parameter, gradient, *state = slot.tensors
    if gradient.layout is not torch.sparse_coo:
        return slot
    return slot._replace(tensors=(parameter, gradient.coalesce(), *state))


def _kind(slot: Slot, step: Tensor) -> tuple[Any, ...]:
    """Steps done, and what else tensors have in common that one call can step together; unique where none can."""
    if not step.is_cpu:
        return (step,)
    parameter, gradient, *_ = slot.tensors
    if type(parameter) in PLAIN_TYPES and gradient.layout is torch.strided and not slot.form.variant.blockwise:
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
