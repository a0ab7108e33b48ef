"""The groups of an optimizer as a table."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from adamkit.description import Description, Row, described, formats
from adamkit.torch.state import MOMENTS, form_of, shape_of, state_dtypes
from adamkit.variants import SWITCHES

_FLAGS = ("auto", "amsgrad", "maximize", "decoupled_weight_decay", *SWITCHES)


def describe(groups: list[dict[str, Any]]) -> Description:
    """A table of `param_groups`."""
    return described(_rows(groups))


def _rows(groups: list[dict[str, Any]]) -> Iterator[Row]:
    for number, group in enumerate(groups):
        settings = {name: _number(group[name]) for name in ("lr", "betas", "eps", "weight_decay")}
        settings |= {name: True for name in _FLAGS if group[name]}
        settings |= {"lazy": group["lazy"]} if group["lazy"] else {}
        if group["momentum_decay"] is not None:
            settings["momentum_decay"] = group["momentum_decay"]
        for parameter in group["params"]:
            form = form_of(parameter, group)
            own = str(parameter.dtype).removeprefix("torch.")
            kept = dict(state_dtypes(form))
            remainder = kept.get("remainder")
            stored = [form.format_of(column) for column, name in MOMENTS.items() if name in kept]
            yield Row(
                str(group.get("name", number)),
                1,
                parameter.numel(),
                formats(
                    own,
                    [own if own in _WIDE and one == "float32" else one for one in stored],
                    remainder and str(remainder).removeprefix("torch."),
                ),
                sum(math.prod(shape_of(name, parameter, form)) * dtype.itemsize for name, dtype in kept.items())
                + _found(parameter, group),
                settings,
            )


_WIDE = ("float64", "complex64", "complex128")  # which the moments then are, too


def _found(parameter: Tensor, group: dict[str, Any]) -> int:
    """Bytes of what a learning rate that is found takes: θ₀ in the parameter's dtype, and s."""
    wide = torch.promote_types(parameter.dtype, torch.float32)
    return parameter.numel() * (parameter.element_size() + wide.itemsize) if group["auto"] else 0


def _number(value: Any) -> Any:
    """Without tensors around numbers."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_number, value))
    return float(f"{value.item():.6g}") if isinstance(value, Tensor) else value
