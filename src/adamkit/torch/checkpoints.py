"""What a checkpoint brings: checked, and in the form in which this optimizer stores it.

It may be of another optimizer: one of another format, `torch.optim.Adam`, `AdamW` or `NAdam`.
"""

import math
import numbers
import warnings
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from adamkit.blockwise import fits
from adamkit.torch.arguments import check_storable, checked
from adamkit.torch.automatic import STATE as AUTO
from adamkit.torch.state import (
    LAST_STEP,
    MOMENTS,
    STATE,
    form_of,
    held_dtypes,
    scales_fit,
    shape_of,
    shape_of_scales,
    state_in_form,
    state_names,
)

_STORAGE = ("moment_dtype", "parameter_rounding")  # options that a checkpoint does not bring


def checked_groups(state_dict: dict[str, Any], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A copy of the checkpoint's groups, with the options that it lacks, if they fit the optimizer's."""
    for name, kind in (("state", dict), ("param_groups", list)):
        if name not in state_dict:
            raise KeyError(f"state_dict must have the keys 'state' and 'param_groups'. Received: {list(state_dict)}")
        if not isinstance(state_dict[name], kind):
            raise TypeError(
                f"state_dict[{name!r}] must be a {kind.__name__}. Received: {type(state_dict[name]).__name__}"
            )
    saved_groups = deepcopy(state_dict["param_groups"])
    if len(saved_groups) != len(groups):
        raise ValueError(
            "loaded state dict has a different number of parameter groups: "
            f"{len(saved_groups)} instead of {len(groups)}"
        )
    required = ("lr", "betas", "eps", "weight_decay")
    for number, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        where = f"parameter group {number} of the loaded state dict"
        if not isinstance(saved, dict):
            raise TypeError(f"{where} must be a dict. Received: {type(saved).__name__}")
        missing = [name for name in ("params", *required) if name not in saved]
        if missing:
            raise ValueError(f"{where} lacks {missing}. Received: {list(saved)}")
        if len(saved["params"]) != len(group["params"]):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"{where} has {len(saved['params'])} parameters instead of {len(group['params'])}"
            )
        saved.setdefault("amsgrad", False)  # as PyTorch does for a checkpoint from before there was one
        if "momentum_decay" in saved:  # of torch.optim.NAdam, whose product of momenta follows from the steps
            saved.setdefault("nesterov", True)
        if group["schedule_free"] and "schedule_free" not in saved:
            warnings.warn(
                f"{where} is of no schedule-free optimizer: v and the count of steps are taken over, m is not, and the "
                "average begins where the parameters are",
                stacklevel=3,
            )
            saved |= {"weight_sum": 0.0, "averaged": False}
        if group["auto"] and "auto" not in saved:
            warnings.warn(
                f"{where} is of no optimizer with lr='auto': its moments are left out, and the learning rate is found "
                "anew",
                stacklevel=3,
            )
            saved |= {"lr": group["lr"], "agreement": 0.0, "begins": True}
        options = {name: saved.get(name, group[name]) for name in group if name not in ("params", "param_names")}
        if not isinstance(group["betas"][0], Tensor):
            options = checked(options, where)
        for index, parameter in enumerate(group["params"]):
            check_storable(parameter, options | {name: group[name] for name in _STORAGE}, f"params[{index}] of {where}")
        saved.update({**options, **{name: group[name] for name in _STORAGE}})
    return saved_groups


def loaded_state(
    state_dict: dict[str, Any], groups: list[dict[str, Any]], saved_groups: list[dict[str, Any]]
) -> dict[Any, Any]:
    """The checkpoint's state by this optimizer's parameters, for groups that `checked_groups` has returned."""
    saved_ids = list(chain.from_iterable(group["params"] for group in saved_groups))
    places = [
        (parameter, saved, index)
        for group, saved in zip(groups, saved_groups, strict=True)
        for index, parameter in enumerate(group["params"])
    ]
    by_id = dict(zip(saved_ids, places, strict=True))
    state: dict[Any, Any] = defaultdict(dict)
    for key, values in state_dict["state"].items():
        if key not in by_id:  # of no parameter: some other tool's, which PyTorch keeps as it is
            state[key] = deepcopy(values)
            continue
        parameter, saved, index = by_id[key]
        name = saved.get("param_names", {index: f"with the index {key!r}"})[index]
        state[parameter] = _state_of_parameter(values, parameter, saved, f"parameter {name}")
    for saved in saved_groups:
        saved.pop("begins", None)
    return state


def _state_of_parameter(values: Any, parameter: Tensor, group: dict[str, Any], name: str) -> dict[str, Any]:
    """One parameter's state from a checkpoint, copied and in this optimizer's dtypes."""
    if not isinstance(values, dict):
        raise TypeError(f"the state of {name} must be a dict. Received: {type(values).__name__}")
    if not values or group.get("begins", False):
        return {}
    names = [MOMENTS[column] for column in ("first", "second", "largest")[: 3 if group["amsgrad"] else 2]]
    required = {"step", *names}
    if required - set(values):
        raise ValueError(
            f"the state of {name} must have the keys {sorted(required)}. Received: {sorted(map(str, values))}"
        )
    step = values["step"]
    if isinstance(step, bool) or not isinstance(step, (numbers.Real, Tensor)):
        raise TypeError(f"'step' of {name} must be a number. Received: type {type(step).__name__}")
    if (isinstance(step, Tensor) and step.numel() != 1) or not 0 <= float(step) < math.inf:
        raise ValueError(f"'step' of {name} must be one finite number >= 0. Received: {step}")
    step_dtype = torch.float64 if getattr(step, "dtype", None) == torch.float64 else torch.float32
    device = parameter.device if group["capturable"] else "cpu"
    loaded: dict[str, Any] = {"step": torch.as_tensor(step).detach().reshape(()).to(device, step_dtype, copy=True)}
    form = form_of(parameter, group)
    for key in MOMENTS.values():
        if key in values:
            _check_moment(values, key, parameter, name)
    remainder = values.get("remainder")
    if remainder is not None:
        _check_tensor("remainder", remainder, parameter.shape, name)
        if remainder.dtype not in (torch.int8, torch.int16, torch.bfloat16, torch.float32):
            raise TypeError(
                f"'remainder' of {name} must be int8, int16 (as bfloat16 in a DTensor) or float32. Received: "
                f"{remainder.dtype}"
            )
    if LAST_STEP in values:
        last = values[LAST_STEP]
        _check_tensor(LAST_STEP, last, parameter.shape[: getattr(last, "ndim", 1)], name)
        if last.dtype != torch.int32:
            raise TypeError(f"{LAST_STEP!r} of {name} must be int32. Received: {last.dtype}")
    if "max_exp_avg_sq" in values:
        form = form._replace(amsgrad=True)
    saved = {
        key: value.detach().to(parameter.device) if isinstance(value, Tensor) else value
        for key, value in values.items()
        if key != "step"
    }
    in_format = all(
        saved.get(key) is not None
        and saved[key].dtype is dtype
        and tuple(saved[key].shape) == shape_of(key, parameter, form)
        for key, dtype in held_dtypes(parameter, form)
    )
    if not in_format:
        saved = state_in_form({**saved, "step": loaded["step"]}, parameter, form)
    loaded.update({key: saved[key].clone() for key in state_names(form)})
    if group["schedule_free"] and not group.get("weight_sum"):  # an m of Adam is there, where x - y belongs
        begun = state_in_form({}, parameter, form)
        loaded.update({key: begun[key] for key in (MOMENTS["first"], STATE["first_scale"]) if key in begun})
    known = {"step", "mu_product", *STATE.values()}
    foreign = {key: _foreign(values[key], parameter) for key in values if key not in known}
    return loaded | foreign | {key: values[key].to(parameter.device, copy=True) for key in AUTO if key in values}


def _foreign(value: Any, parameter: Tensor) -> Any:
    """What another tool keeps in a parameter's state, as PyTorch takes it over: in its dtype, on its device."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    dtype = parameter.dtype if parameter.is_floating_point() and value.is_floating_point() else value.dtype
    return value.detach().to(parameter.device, dtype, copy=True)


def _check_moment(values: dict[str, Any], key: str, parameter: Tensor, name: str) -> None:
    """That a checkpoint's moment is in a known format, and whole."""
    moment, scale = values[key], values.get(f"{key}_scale")
    blocks = key != MOMENTS["first"] and isinstance(moment, Tensor) and scale is None
    if not (blocks and fits(moment.shape, parameter.shape)):
        _check_tensor(key, moment, parameter.shape, name)
    if moment.dtype == torch.uint8:
        if not isinstance(scale, Tensor) or not scales_fit(scale, parameter):
            _check_tensor(f"{key}_scale", scale, shape_of_scales(parameter), name)
        if scale is not None and scale.dtype != torch.uint8:
            raise TypeError(f"'{key}_scale' of {name} must be uint8. Received: {scale.dtype}")
    elif scale is not None:
        raise ValueError(f"'{key}_scale' of {name} needs {key!r} to be uint8. Received: {moment.dtype}")
    elif not (moment.is_floating_point() or (parameter.is_complex() and moment.is_complex())):
        raise TypeError(f"{key!r} of {name} must be floating point, or uint8 with scales. Received: {moment.dtype}")


def _check_tensor(key: str, value: Any, shape: Sequence[int], name: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{key!r} of {name} must be a tensor. Received: type {type(value).__name__}")
    if value.shape != tuple(shape):
        raise ValueError(f"{key!r} of {name} must have the shape {tuple(shape)}. Received: {tuple(value.shape)}")
