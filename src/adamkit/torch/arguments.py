"""Checks of what the constructor and parameter groups are given."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from adamkit import moments, prodigy, rounding, rule, variants
from adamkit.variants import LAZY_REFUSED, SWITCHES, Variant


def checked(options: dict[str, Any], where: str = "") -> dict[str, Any]:
    """`options` with betas as two floats; raises as `torch.optim.Adam` does, naming the option and what is accepted."""
    suffix = f" ({where})" if where else ""
    if isinstance(options["lr"], str):
        if options["lr"] != "auto":
            raise TypeError(f"lr must be a finite number >= 0 or 'auto'. Received: {options['lr']!r}{suffix}")
        options = options | {"lr": prodigy.START}
    lr, betas, foreach, capturable = (options[name] for name in ("lr", "betas", "foreach", "capturable"))
    flags = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "auto", *SWITCHES)
    for name in flags:
        if not isinstance(options[name], bool):
            raise TypeError(f"{name} must be True or False. Received: {options[name]!r}{suffix}")
    for name in ("foreach", "fused"):
        if not isinstance(options[name], (bool, type(None))):
            raise TypeError(f"{name} must be True, False or None. Received: {options[name]!r}{suffix}")
    if isinstance(lr, Tensor):
        if foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True" + suffix)
        if lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element. Received: shape {tuple(lr.shape)}{suffix}")
    _check_range("learning rate", "lr", lr, suffix)
    _check_range("epsilon value", "eps", options["eps"], suffix)
    _check_range("weight_decay value", "weight_decay", options["weight_decay"], suffix)
    if not isinstance(betas, Iterable) or isinstance(betas, (str, bytes)):
        raise TypeError(f"betas must be a pair of numbers. Received: {betas!r}{suffix}")
    betas = tuple(betas)
    if len(betas) != 2:
        raise ValueError(f"betas must be a pair of numbers. Received: {betas!r}{suffix}")
    for index, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{index}] must be 1-element. Received: shape {tuple(beta.shape)}{suffix}")
        _check_range(f"beta parameter at index {index}", f"betas[{index}]", beta, suffix, below=1.0)
    if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
        raise ValueError(f"betas must be either both floats or both Tensors. Received: {betas!r}{suffix}")
    if isinstance(betas[0], Tensor) and foreach and not capturable:
        raise ValueError("betas[0] as a Tensor is not supported for capturable=False and foreach=True" + suffix)
    if options["fused"] and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together." + suffix)
    if options["fused"] and options["differentiable"]:
        raise RuntimeError("`fused` does not support `differentiable`" + suffix)
    try:
        lazy = variants.check_lazy("lazy", options["lazy"])
        variants.check(
            Variant(*[options[name] for name in SWITCHES]), amsgrad=options["amsgrad"], epsilon=options["eps"]
        )
        rule.check_momentum_decay(options["momentum_decay"], nesterov=options["nesterov"])
        moments.check_format("moment_dtype", options["moment_dtype"])
        rounding.check_rounding("parameter_rounding", options["parameter_rounding"])
        rounding.check_seed("rounding_seed", options["rounding_seed"])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}{suffix}") from None
    summed = "the sum of η² is counted on the host"
    for name, reason in (("capturable", summed), ("differentiable", summed), ("lazy", LAZY_REFUSED["schedule_free"])):
        if options["schedule_free"] and options[name]:
            given = f"{name}={options[name]!r}"
            raise ValueError(f"schedule_free=True does not go with {given}: {reason}. Received: both{suffix}")
    if options["blockwise"] and options["lazy"]:
        reason = LAZY_REFUSED["blockwise"]
        raise ValueError(f"blockwise=True does not go with lazy={options['lazy']!r}: {reason}. Received: both{suffix}")
    found = "the learning rate is found on the host"
    reasons = {"capturable": found, "differentiable": found, "lazy": LAZY_REFUSED["auto"]}
    for name, reason in (reasons | prodigy.REFUSED).items():
        if options["auto"] and options[name]:
            raise ValueError(f"lr='auto' does not go with {name}={options[name]!r}: {reason}. Received: both{suffix}")
    if options["auto"] and options["weight_decay"] and not options["decoupled_weight_decay"]:
        raise ValueError(f"lr='auto' needs decoupled_weight_decay=True: λθ is no gradient of the loss{suffix}")
    for name, reason in (("differentiable", "rounding has no derivative"), ("lazy", LAZY_REFUSED["int8"])):
        refused = ("bfloat16", "int8") if name == "differentiable" else ("int8",)
        if options[name] and options["moment_dtype"] in refused:
            raise ValueError(
                f"moment_dtype={options['moment_dtype']!r} does not go with {name}={options[name]!r}: {reason}. "
                f"Use moment_dtype='float32'{suffix}"
            )
    if lazy == "exact" and options["differentiable"]:
        raise ValueError(
            f"lazy='exact' does not go with differentiable=True: what steps were missed has no derivative{suffix}"
        )
    if lazy == "exact" and options["weight_decay"] and not options["decoupled_weight_decay"]:
        raise ValueError(
            "lazy='exact' needs decoupled_weight_decay=True: λθ would be a gradient in the steps that a row misses. "
            f"Received: weight_decay={options['weight_decay']!r}{suffix}"
        )
    # Tensors stay where autograd is to see them.
    return {**options, "betas": betas if options["differentiable"] else tuple(map(float, betas))}


def checked_parameters(entries: Iterable[Any], options: dict[str, Any], where: str) -> list[Any]:
    """Parameters, or pairs of a name and one, as a list, if a group with these options can have them."""
    entries = list(entries)
    for index, entry in enumerate(entries):
        name, parameter = entry if isinstance(entry, tuple) and len(entry) == 2 else (index, entry)
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"optimizer can only optimize Tensors. Received: params[{name!r}] of {where} is of type "
                f"{type(parameter).__name__}"
            )
        if not options["differentiable"] and not (parameter.is_leaf or parameter.retains_grad):
            raise ValueError(
                f"can't optimize a non-leaf Tensor: params[{name!r}] of {where}, of shape "
                f"{tuple(parameter.shape)}, is the result of an operation"
            )
        check_storable(parameter, options, f"params[{name!r}] of {where}")
    return entries


def check_storable(parameter: Tensor, options: dict[str, Any], where: str) -> None:
    """ValueError where the moments of a parameter cannot be kept as a group's options say."""
    if options["blockwise"] and hasattr(parameter, "placements"):
        raise ValueError(
            "blockwise=True needs parameters that are whole in each process, for a block may be in several. Received: "
            f"{where} is a DTensor"
        )
    moment_dtype = options["moment_dtype"]
    if moment_dtype == "float32":
        return
    if moment_dtype == "int8" and parameter.dtype == torch.float64:
        kind, accepted = "torch.float64", "parameters of 32 bits or less"
    elif moment_dtype == "int8" and any(getattr(one, "dim", 0) for one in getattr(parameter, "placements", ())):
        kind = f"a DTensor with placements {parameter.placements}"  # pyright: ignore[reportAttributeAccessIssue]
        accepted = "DTensors that are sharded on their first axis, as FSDP2's are, or not at all"
    elif parameter.is_complex():
        kind, accepted = str(parameter.dtype), "real parameters"
    else:
        return
    raise ValueError(f"moment_dtype={moment_dtype!r} needs {accepted}. Received: {where} is {kind}")


def _check_range(what: str, name: str, value: Any, suffix: str, below: float = math.inf) -> None:
    accepted = "a finite number >= 0" + (f" and < {below:g}" if below < math.inf else "")
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Tensor)):
        raise TypeError(f"{name} must be {accepted}. Received: {value!r} of type {type(value).__name__}{suffix}")
    if not 0 <= float(value.detach() if isinstance(value, Tensor) else value) < below:
        raise ValueError(f"Invalid {what}: {value}. {name} must be {accepted}{suffix}")
