"""What is kept of a parameter between steps, and in which form."""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adamkit import arrays, blockwise, moments, rounding, rule
from adamkit.kernels.form import PLAIN_TYPES, Form
from adamkit.torch.coefficients import variant_of

MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq", "largest": "max_exp_avg_sq"}  # PyTorch's names
STATE = {**MOMENTS, **{f"{moment}_scale": f"{name}_scale" for moment, name in MOMENTS.items()}}
STATE["remainder"] = "remainder"
LAST_STEP = "last_step"  # of each row, with lazy="exact": m and v of the row are as of then; absent: as of now


class Slot(NamedTuple):
    """One parameter and what its step needs."""

    form: Form
    tensors: tuple[Any, ...]  # in the order of the form's columns, of the parameter's shape or that of `shape_of`
    position: int  # of the parameter among those of the optimizer
    last_step: Tensor | None = None  # int32, of each row, where a sparse gradient steps it with lazy="exact"

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


def shape_of(name: str, parameter: Tensor, form: Form) -> tuple[int, ...]:
    """That of what the state of a parameter holds under a name."""
    if name.endswith("_scale"):
        return shape_of_scales(parameter)
    if form.variant.blockwise and name in (MOMENTS["second"], MOMENTS["largest"]):
        return blockwise.shape_of_blocks(parameter.shape, blockwise.FIRST)
    return tuple(parameter.shape)


def held_dtypes(parameter: Tensor, form: Form) -> tuple[tuple[str, torch.dtype], ...]:
    """`state_dtypes`, but an int16 of a DTensor is held as bfloat16: neither gloo nor NCCL can gather int16.

    No arithmetic is done on it; it is the same 16 bits.
    """
    if not is_sharded(parameter):
        return state_dtypes(form)
    return tuple((name, torch.bfloat16 if dtype is torch.int16 else dtype) for name, dtype in state_dtypes(form))


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "to_local")


def shape_of_scales(parameter: Tensor) -> tuple[int, ...]:
    """(blocks,), or (rows, blocks of a row) for a DTensor: so scales are sharded as the rows are, whoever has how many.

    A block then ends with its row. Where rows are whole blocks, these are the same numbers in the same order.
    """
    if not is_sharded(parameter):
        return (moments.blocks(parameter.numel()),)
    return _shape_by_rows(parameter)


def scales_fit(scales: Tensor, parameter: Tensor) -> bool:
    """Whether they are of a state of the parameter, sharded or not."""
    return tuple(scales.shape) in ((moments.blocks(parameter.numel()),), _shape_by_rows(parameter))


def _shape_by_rows(parameter: Tensor) -> tuple[int, int]:
    rows = len(parameter) if parameter.dim() else 1
    return rows, moments.blocks(parameter.numel() // max(rows, 1))


def slot_of(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], index: int) -> Slot:
    """What a step of the parameter needs; its state is begun, or brought into the group's form, if need be."""
    form = form_of(parameter, group)
    if "step" not in state:
        step_dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        state["step"] = torch.zeros((), dtype=step_dtype, device=parameter.device if group["capturable"] else "cpu")
    names = state_names(form)
    if not all(_is_held(state.get(name), name, dtype, parameter, form) for name, dtype in held_dtypes(parameter, form)):
        state.update(state_in_form(state, parameter, form))
    for name in set(STATE.values()) - set(names):  # of another form, before
        if name != MOMENTS["largest"]:
            state.pop(name, None)
    slot = Slot(
        form, (parameter, gradient, *(state[name] for name in names)), index, _last_step(state, gradient, group)
    )
    return slot if type(parameter) in PLAIN_TYPES and not parameter.is_complex() else _local(slot)


def _last_step(state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor | None:
    """What holds the last step of each row, if the gradient is to step some; else all moments are made those of now."""
    exact = group["lazy"] == "exact" and gradient.layout is not torch.strided
    dims = gradient.sparse_dim() if exact and gradient.layout is torch.sparse_coo else 2
    last = state.get(LAST_STEP)
    if last is not None and not (exact and last.dim() == dims):
        _catch_up(state, last, group)
        del state[LAST_STEP]
    if not exact:
        return None
    if LAST_STEP not in state:
        device = state[MOMENTS["first"]].device
        done = state["step"].to(device, torch.int32)
        state[LAST_STEP] = done.repeat(gradient.shape[:dims])
    return state[LAST_STEP]


def _catch_up(state: dict[str, Any], last: Tensor, group: dict[str, Any]) -> None:
    """Give the moments of each row the steps that it missed."""
    number = int(state["step"])
    for (column, name), beta in zip(MOMENTS.items(), group["betas"], strict=False):
        held = state[name]
        form = Form("float32", "bfloat16" if held.dtype is torch.bfloat16 else "float32", "nearest")
        wide = held.float() if held.dtype is torch.bfloat16 else held
        decay = rule.Decay.of(float(beta))
        new = rule.faded(wide, missed_by(number - last, wide), decay, torch)
        held.copy_(encoded(new, column, form, number)[0])


def missed_by(missed: Tensor, moment: Tensor) -> Tensor:
    """Whole numbers, one a row, in the axes and the width of a moment of these rows."""
    return missed.to(moment.dtype.to_real()).reshape(missed.shape + (1,) * (moment.dim() - missed.dim()))


def _is_held(value: Any, name: str, dtype: torch.dtype, parameter: Tensor, form: Form) -> bool:
    if value is None or value.dtype is not dtype:
        return False
    return name not in (MOMENTS["second"], MOMENTS["largest"]) or value.shape == shape_of(name, parameter, form)


def state_in_form(state: dict[str, Any], parameter: Tensor, form: Form) -> dict[str, Tensor]:
    """The moments of a state, in any format and blocks, and its remainder, as the form has them; zeros for none."""
    new = {}
    layout = torch.contiguous_format if form.moments == "int8" else torch.preserve_format
    for name, dtype in held_dtypes(parameter, form):
        if name.endswith("_scale"):
            new[name] = _zero_scales(parameter, dtype)
        elif (shape := shape_of(name, parameter, form)) != tuple(parameter.shape):
            new[name] = torch.zeros(shape, dtype=dtype, device=parameter.device)
        else:
            new[name] = torch.zeros_like(parameter, dtype=dtype, memory_format=layout, requires_grad=False)
    for column, name in MOMENTS.items():
        if name in state and name in new:
            scale = state.get(f"{name}_scale")
            wide = decoded(_here(state[name]), None if scale is None else _here(scale), column, form.arithmetic())
            if column != "first":
                wide = blockwise.fitted(wide, _here(new[name]).shape, torch)
            stored = encoded(wide, column, form, int(state["step"]), by_rows=is_sharded(parameter))
            for key, value in zip((name, f"{name}_scale"), stored, strict=False):
                _here(new[key]).copy_(value)
    if "remainder" in new and "remainder" in state:
        given, kept = (_as_bits(_here(one["remainder"])) for one in (state, new))
        if given.dtype is kept.dtype:
            kept.copy_(given)
    return new


def decoded(stored: Tensor, scale: Tensor | None, column: str, dtype: torch.dtype) -> Tensor:
    """A moment of any format at full width; of int8 its scales are (blocks,), or (rows, blocks of a row)."""
    if scale is None:
        return stored.to(dtype)
    decode = moments.decode_first if column == "first" else moments.decode_second
    if scale.dim() == 1:
        return decode(stored, scale, torch).to(dtype)
    whole = decode(_in_whole_blocks(stored), scale.reshape(-1), torch)
    return _cut(whole, stored).to(dtype)


def encoded(
    moment: Tensor, column: str, form: Form, step: int | Tensor, *, by_rows: bool = False
) -> tuple[Tensor, ...]:
    """A moment at full width in the form's format, with its scales if it has any: (blocks,), or of each row."""
    stored = form.format_of(column)
    if stored == "float32":
        return (moment,)
    moment = moment.float()
    if stored == "bfloat16":
        return (moments.round_to_bfloat16(moment, torch.as_tensor(step, device=moment.device), _BITS).bfloat16(),)
    encode = moments.encode_first if column == "first" else moments.encode_second
    if not by_rows:
        return encode(moment, step, torch)
    rows = _in_whole_blocks(moment)
    codes, scales = encode(rows, step, torch)
    return _cut(codes, moment), scales.reshape(len(rows), -1)


def _in_whole_blocks(tensor: Tensor) -> Tensor:
    """(rows, …) as (rows, whole blocks), with zeros at the end of each row."""
    rows = tensor.reshape(len(tensor), -1)
    return torch.nn.functional.pad(rows, (0, -rows.shape[1] % moments.BLOCK))


def _cut(rows: Tensor, like: Tensor) -> Tensor:
    """What `_in_whole_blocks` has made of a tensor of that shape, without the zeros."""
    return rows[:, : math.prod(like.shape[1:])].reshape(like.shape)


def _zero_scales(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    shape: Any = shape_of_scales(parameter)
    if not is_sharded(parameter):
        return torch.zeros(shape, dtype=dtype, device=parameter.device)
    from torch.distributed.tensor import zeros

    placed: Any = parameter
    return zeros(shape, dtype=dtype, device_mesh=placed.device_mesh, placements=placed.placements)


def _here(tensor: Any) -> Tensor:
    """This process's part of a DTensor, in the same memory; any other as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def _as_bits(remainder: Tensor) -> Tensor:
    """The int16 that a DTensor holds as bfloat16."""
    return remainder.view(torch.int16) if remainder.dtype is torch.bfloat16 else remainder


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
        parameter, gradient, *state = map(_here, (parameter, gradient, *state))
        for place, name in enumerate(state_names(slot.form)):
            if name == "remainder":
                state[place] = _as_bits(state[place])
            elif name.endswith("_scale") and parameter[:1].numel() % moments.BLOCK == 0:
                state[place] = state[place].reshape(-1)  # rows are whole blocks
        slot = slot._replace(tensors=(parameter, gradient, *state))
    if parameter.is_complex() and gradient.layout is torch.strided:
        slot = as_real(slot._replace(tensors=(parameter, gradient.resolve_conj(), *state)))
    return slot


def as_real(slot: Slot) -> Slot:
    """Complex numbers as two real ones, in the same memory."""
    form = slot.form._replace(parameter=str(slot.tensors[0].real.dtype).removeprefix("torch."))
    return slot._replace(form=form, tensors=tuple(map(torch.view_as_real, slot.tensors)))
