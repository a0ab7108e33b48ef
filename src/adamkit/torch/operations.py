"""A step by PyTorch's own operations, for whatever no kernel takes: any device, layout and subclass of `Tensor`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamkit import rounding, rule
from adamkit.torch.coefficients import coefficients, has_tensors
from adamkit.torch.internals import foreach_copy_
from adamkit.torch.state import MOMENTS, Slot, as_real, decoded, encoded, missed_by
from adamkit.torch.tensors import OneTensor, Tensors


def step_by_operations(slots: list[Slot], group: dict[str, Any], done: float | Tensor) -> None:
    """The rule by PyTorch's operations, in place, on tensors of one kind."""
    if isinstance(done, Tensor) and group["capturable"]:
        k = coefficients(group, done.double() + 1, torch)
        number: int | Tensor = done.to(torch.int64) + 1
    elif has_tensors(group):
        k = coefficients(group, torch.tensor(float(done) + 1, dtype=torch.float64), torch)
        number = int(done) + 1
    else:
        k = coefficients(group, float(done) + 1)
        number = int(done) + 1
    if len(slots) == 1 and slots[0].tensors[1].layout is not torch.strided:
        _step_present(slots[0], group, k, number)
        return
    inputs = [read(slot, group["maximize"], k.gradient_scale) for slot in slots]
    if has_tensors(group):  # the graph holds what a later step writes over
        inputs = [tuple(x if x is None else x.clone() for x in tensors) for tensors in inputs]
    if len(slots) == 1:
        news = [rule.update(*inputs[0], k=k, xp=OneTensor)]
    else:
        lists = (None if tensors[0] is None else Tensors(tensors) for tensors in zip(*inputs, strict=True))
        new = rule.update(*lists, k=k, xp=Tensors)
        news = [
            rule.Update(*values)
            for values in zip(*([None] * len(slots) if x is None else x.tensors for x in new), strict=True)
        ]
    results = [written(slot, new, group["rounding_seed"], number) for slot, new in zip(slots, news, strict=True)]
    for pairs in zip(*results, strict=True):
        if len(pairs) == 1:
            pairs[0][0].copy_(pairs[0][1])
        else:
            foreach_copy_([old for old, _ in pairs], [new for _, new in pairs])


def read(slot: Slot, maximize: bool = False, scale: float = 1.0) -> tuple[Any, ...]:
    """θ, g times the scale, m, v and the largest v (or None) at the width of the arithmetic."""
    dtype = slot.form.arithmetic()
    parameter, gradient = slot.tensors[:2]
    if slot.form.parameter in rounding.NARROW:
        theta = rounding.restore(parameter, slot.column("remainder"), torch)
    else:
        theta = parameter.to(dtype)
    gradient = gradient.to(dtype) if scale == 1.0 else scale * gradient.to(dtype)
    columns = slot.form.columns()
    moment = (
        decoded(slot.column(name), slot.column(f"{name}_scale"), name, dtype) if name in columns else None
        for name in MOMENTS
    )
    return theta, -gradient if maximize else gradient, *moment


def written(slot: Slot, new: rule.Update, seed: int, number: int | Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The slot's tensors, each with what it becomes; None of a moment leaves it."""
    form = slot.form
    if form.parameter in rounding.NARROW and form.rounding != "nearest":
        key = rounding.random_key(seed, number, slot.position, torch if isinstance(number, Tensor) else np)
        key = torch.as_tensor(key, device=slot.tensors[0].device)
        parameter, remainder = rounding.store(new.parameter, form.parameter, form.rounding, key, torch)
        yield slot.tensors[0], parameter
        if remainder is not None:
            yield slot.column("remainder"), remainder
    else:
        yield slot.tensors[0], new.parameter
    for column, moment in zip(MOMENTS, new[1:], strict=True):
        if moment is not None:
            scales = slot.column(f"{column}_scale")
            stored = encoded(moment, column, form, number, by_rows=scales is not None and scales.dim() > 1)
            held: Any = (slot.column(column), scales)
            yield from zip(held, stored, strict=False)


def _step_present(slot: Slot, group: dict[str, Any], k: rule.Coefficients, number: int | Tensor) -> None:
    """Step only the entries that a sparse gradient has."""
    parameter, gradient, *state = slot.tensors
    gradient = (gradient if gradient.layout is torch.sparse_coo else gradient.to_sparse_coo()).coalesce()
    present = tuple(gradient.indices())
    values = gradient.values()
    if values.numel() == 0:
        return
    held = (_entries(tensor, present) for tensor in state)
    part = slot._replace(tensors=(_entries(parameter, present), values.resolve_conj(), *held))
    whole = (parameter, *state)
    if parameter.is_complex():
        part, whole = as_real(part), tuple(map(torch.view_as_real, whole))
    theta, values, first, second, largest = read(part, group["maximize"], k.gradient_scale)
    if slot.last_step is not None:
        missed = number - 1 - slot.last_step[present]
        first = rule.faded(first, missed_by(missed, first), k.first_decay, OneTensor)
        second = rule.faded(second, missed_by(missed, second), k.second_decay, OneTensor)
        slot.last_step[present] = torch.as_tensor(number, dtype=torch.int32, device=missed.device)
    new = rule.update(theta, values, first, second, largest, k, OneTensor)
    changed = {id(old): value for old, value in written(part, new, group["rounding_seed"], number)}
    for old, here in zip(whole, (part.tensors[0], *part.tensors[2:]), strict=True):
        value = changed[id(here)].to(old.dtype)
        if len(present) == 1:
            old.index_copy_(0, present[0], value)
        else:
            old[present] = value


def _entries(tensor: Tensor, present: tuple[Tensor, ...]) -> Tensor:
    """`tensor[present]`; of rows as what PyTorch does several times as fast."""
    return tensor.index_select(0, present[0]) if len(present) == 1 else tensor[present]
