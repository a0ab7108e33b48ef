"""What is kept of a parameter between steps, and in which form."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adamkit import arrays, moments, rounding
from adamkit.kernels.form import PLAIN_TYPES, Form
from adamkit.torch.coefficients import variant_of

MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq", "largest": "max_exp_avg_sq"}  # PyTorch's names
STATE = {**MOMENTS, **{f"{moment}_scale": f"{name}_scale" for moment, name in MOMENTS.items()}}
STATE["remainder"] = "remainder"


class Slot(NamedTuple):
    """One parameter and what its step needs."""

    form: Form
    tensors: tuple[Any, ...]  # in the order of the form's columns; a remainder and scales apart, all (…,) of one shape
    position: int  # of the parameter among those of the optimizer

    def column(self, name: str) -> Any:
        """The tensor of that name, or None if the form has none."""
        return dict(zip(self.form.columns(), self.tensors, strict=False)).get(name)


def form_of(parameter: Tensor, group: dict[str, Any]) -> Form:
    """How the parameter and its moments are stored."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    narrow = dtype in rounding.NARROW and not group["differentiable"]
    return Form(
        dtype,
        moments.format_of(parameter.numel(), group["moment_dtype"]),
        group["parameter_rounding"] if narrow else "nearest",
        group["amsgrad"],
        variant=variant_of(group),
    )


@functools.cache
def state_names(form: Form) -> tuple[str, ...]:
    """What the state of a parameter holds besides "step", in the order of the form's columns."""
    return tuple(STATE[column] for column in form.columns() if column in STATE)


@functools.cache
def state_dtypes(form: Form) -> tuple[tuple[str, torch.dtype], ...]:
    """And each with its dtype."""
    return tuple((STATE[column], dtype) for column, dtype in form.columns().items() if column in STATE and dtype)


def slot_of(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], index: int) -> Slot:
    """What a step of the parameter needs; its state is begun, or brought into the group's form, if need be."""
    form = form_of(parameter, group)
    if not state:
        step_dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        state["step"] = torch.zeros((), dtype=step_dtype, device=parameter.device if group["capturable"] else "cpu")
    names = state_names(form)
    if any(name not in state or state[name].dtype is not dtype for name, dtype in state_dtypes(form)):
        state.update(state_in_form(state, parameter, form))
    for name in set(STATE.values()) - set(names):  # of another form, before
        if name != MOMENTS["largest"]:
            state.pop(name, None)
    slot = Slot(form, (parameter, gradient, *(state[name] for name in names)), index)
    return slot if type(parameter) in PLAIN_TYPES and not parameter.is_complex() else _local(slot)


def state_in_form(state: dict[str, Any], parameter: Tensor, form: Form) -> dict[str, Tensor]:
    """The moments of a state, in whatever format they are, and its remainder, as the form has them; zeros for none."""
    new = {}
    layout = torch.contiguous_format if form.moments == "int8" else torch.preserve_format
    for name, dtype in state_dtypes(form):
        if name.endswith("_scale"):
            new[name] = torch.zeros(moments.blocks(parameter.numel()), dtype=dtype, device=parameter.device)
        else:
            new[name] = torch.zeros_like(parameter, dtype=dtype, memory_format=layout, requires_grad=False)
    for column, name in MOMENTS.items():
        if name in state and name in new:
            wide = decoded(state[name], state.get(f"{name}_scale"), column, form.arithmetic())
            stored = encoded(wide, column, form, int(state["step"]))
            for key, value in zip((name, f"{name}_scale"), stored, strict=False):
                new[key].copy_(value)
    if "remainder" in new and "remainder" in state and state["remainder"].dtype is new["remainder"].dtype:
        new["remainder"].copy_(state["remainder"])
    return new


def decoded(stored: Tensor, scale: Tensor | None, column: str, dtype: torch.dtype) -> Tensor:
    """A moment of any format at full width."""
    if scale is None:
        return stored.to(dtype)
    decode = moments.decode_first if column == "first" else moments.decode_second
    return decode(stored, scale, torch).to(dtype)


def encoded(moment: Tensor, column: str, form: Form, step: int | Tensor) -> tuple[Tensor, ...]:
    """A moment at full width in the form's format, with its scales if it has any."""
    stored = form.format_of(column)
    if stored == "float32":
        return (moment,)
    moment = moment.float()
    if stored == "bfloat16":
        return (moments.round_to_bfloat16(moment, torch.as_tensor(step, device=moment.device), _BITS).bfloat16(),)
    return (moments.encode_first if column == "first" else moments.encode_second)(moment, step, torch)


_BITS = arrays.namespace(torch)


def _local(slot: Slot) -> Slot:
    """The real numbers that are stepped: this process's shard of a DTensor; a complex number as two real ones.

    They share memory with the tensors given.
    """
    parameter, gradient, *state = slot.tensors
    if hasattr(parameter, "to_local"):
        mesh, placements = parameter.device_mesh, parameter.placements
        if gradient.placements != placements:
            gradient = gradient.redistribute(mesh, placements)
        slot = slot._replace(tensors=tuple(tensor.to_local() for tensor in (parameter, gradient, *state)))
        parameter, gradient, *state = slot.tensors
    if parameter.is_complex() and gradient.layout is torch.strided:
        slot = as_real(slot._replace(tensors=(parameter, gradient.resolve_conj(), *state)))
    return slot


def as_real(slot: Slot) -> Slot:
    """Complex numbers as two real ones, in the same memory."""
    form = slot.form._replace(parameter=str(slot.tensors[0].real.dtype).removeprefix("torch."))
    return slot._replace(form=form, tensors=tuple(map(torch.view_as_real, slot.tensors)))
