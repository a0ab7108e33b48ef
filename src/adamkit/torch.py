"""Adam for PyTorch: a drop-in for `torch.optim.Adam` and `torch.optim.AdamW`.

Parameters on the CPU are stepped by one parallel pass over memory (`adamkit.kernels.cpu`); everything else by PyTorch's own
operations, through `adamkit.rule`.
"""

import math
import numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from adamkit import rule
from adamkit.kernels import cpu
from adamkit.kernels.cpu import compile_kernels

__all__ = ["Adam", "compile_kernels"]

_MOMENT_DTYPES = ("float32",)
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")  # PyTorch's names for m, v and the largest v


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1) with the arguments and the checkpoints of `torch.optim.Adam`.

    Arithmetic is float32, or float64 for float64 parameters, whatever dtype the parameter and its gradient have; so are the
    moments. Bias correction is computed in float64. Parameters on the CPU are stepped by one pass over memory that all
    parameters of a group share and that uses `torch.get_num_threads()` threads; the result has the same bits for any number.

    Args:
        params: The parameters to optimize, (name, parameter) pairs, or dicts of them with options of their own, as in
            `torch.optim`. Parameters without a gradient are left alone.
        lr: η >= 0, the learning rate; a number or a tensor with one element.
        betas: (β₁, β₂), the decay rates of the two moments, each 0 <= β < 1.
        eps: ε >= 0, added to the root of the bias-corrected second moment.
        weight_decay: λ >= 0.
        amsgrad: Divide by the largest second moment so far (Reddi et al. 2018, arXiv:1904.09237).
        foreach: Accepted for code written for `torch.optim.Adam`; the fastest way is taken in any case.
        maximize: Climb the gradient instead of descending it.
        capturable: Keep the step counter on the parameter's device, so that a CUDA graph can capture the step.
        differentiable: Let autograd see through the step.
        fused: As `foreach`.
        decoupled_weight_decay: True: shrink the parameter by η·λ, as `torch.optim.AdamW` (Loshchilov and Hutter 2019,
            arXiv:1711.05101). False: add λ times the parameter to the gradient (L2), as `torch.optim.Adam`.
        moment_dtype: How the moments are stored: "float32" (float64 for float64 parameters).
        lazy: What a sparse gradient means. True: only the entries that it has are stepped, and their moments with them, as in
            `torch.optim.SparseAdam`. False: it is an error, as in `torch.optim.Adam`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, there are no parameters, or one occurs in two groups.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
        >>> optimizer = Adam([x], lr=0.01)
        >>> for _ in range(2000):  # minimize the sum of x²
        ...     optimizer.zero_grad()
        ...     (x**2).sum().backward()
        ...     optimizer.step()
        >>> bool(x.abs().max() < 1e-3)
        True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        moment_dtype: str = "float32",
        lazy: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            "moment_dtype": moment_dtype,
            "lazy": lazy,
        }
        super().__init__(params, _checked(defaults))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own, as `torch.optim.Optimizer.add_param_group`.

        Args:
            param_group: "params" and any of the constructor's options. A wrong one raises what the constructor would raise
                and leaves the optimizer as it was.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict. Received: {type(param_group).__name__}")
        if "params" not in param_group:
            raise KeyError("param_group must have the key 'params'")
        where = f"parameter group {len(self.param_groups)}"
        options = {name: param_group.get(name, default) for name, default in self.defaults.items()}
        param_group.update(_checked(options, where))
        if not isinstance(param_group["params"], (Tensor, set)):
            param_group["params"] = list(param_group["params"])
            for index, entry in enumerate(param_group["params"]):
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
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if len(set(group["params"])) < len(group["params"]):  # PyTorch has warned; each is stepped once
            if "param_names" in group:
                names = dict(zip(reversed(group["params"]), reversed(group["param_names"]), strict=True))
                group["param_names"] = [names[parameter] for parameter in dict.fromkeys(group["params"])]
            group["params"] = list(dict.fromkeys(group["params"]))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of Adam on every parameter that has a gradient.

        Args:
            closure: Evaluates the model again and returns the loss.

        Returns:
            What `closure` returned, or None.

        Raises:
            RuntimeError: A gradient is sparse and its group is not `lazy`. Nothing has been changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            for group in self.param_groups:
                _refuse_sparse(group)
            for group in self.param_groups:
                self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        batches: dict[tuple[Any, ...], _Batch] = defaultdict(lambda: _Batch([], [], [], [], []))
        amsgrad = group["amsgrad"]
        state_of = self.state
        plain = not group["differentiable"]
        parameters, steps = [], []
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            state = state_of[parameter]
            if not state:
                state.update(_initial_state(parameter, group))
            if amsgrad and "max_exp_avg_sq" not in state:  # switched on in the middle of a run
                state["max_exp_avg_sq"] = torch.zeros_like(state["exp_avg_sq"])
            step, first, second = state["step"], state["exp_avg"], state["exp_avg_sq"]
            largest = state["max_exp_avg_sq"] if amsgrad else None
            slot = _Slot(parameter, gradient, first, second, largest)
            if gradient.layout is torch.strided and type(parameter) not in cpu.PLAIN_TYPES or parameter.is_complex():
                slot = _local(slot)
            if group["capturable"] and step.device.type != "cpu":
                key = (step,)
            elif plain and cpu.applies(*slot[: 5 if amsgrad else 4]):  # pyright: ignore[reportArgumentType]
                key = ("kernel", slot.parameter.dtype, step.item())
            else:
                key = (*_kind(slot), step.item())
            batch = batches[key]
            for column, tensor in zip(batch, slot, strict=True):
                column.append(tensor)
            parameters.append(parameter)
            steps.append(step)
        for (*kind, done), batch in batches.items():
            if kind and kind[0] == "kernel":
                lists = batch if amsgrad else batch._replace(largest=None)
                k = _coefficients(group, done + 1)
                cpu.step(*lists, k, torch.get_num_threads(), maximize=group["maximize"])
            else:
                _step_by_operations(batch, group, done)
        _advance(steps)
        if plain and parameters:
            torch.autograd.graph.increment_version(parameters)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint of this optimizer, of `torch.optim.Adam` or of `torch.optim.AdamW`.

        The moments take this optimizer's dtype, whatever the parameter's. Options that the checkpoint lacks stay as they are.

        Args:
            state_dict: What `state_dict()` returned.

        Raises:
            KeyError: It lacks "state" or "param_groups".
            TypeError: It, or one of its parts, has the wrong type.
            ValueError: It belongs to other parameters, or is not a state of Adam. The optimizer is left as it was in every
                case.
        """
        if not isinstance(state_dict, dict):
            raise TypeError(f"state_dict must be a dict. Received: {type(state_dict).__name__}")
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved_groups = _checked_groups(state_dict, self.param_groups)
        saved_ids = list(chain.from_iterable(group["params"] for group in saved_groups))
        places = [
            (parameter, group, saved, index)
            for group, saved in zip(self.param_groups, saved_groups, strict=True)
            for index, parameter in enumerate(group["params"])
        ]
        by_id = dict(zip(saved_ids, places, strict=True))
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            if key not in by_id:
                raise ValueError(
                    f"state_dict has a state for parameter {key!r}, which is in none of its param_groups. "
                    f"Received: param_groups with the parameters {_shortened(saved_ids)}"
                )
            parameter, _, saved, index = by_id[key]
            name = saved.get("param_names", {index: f"with the index {key!r}"})[index]
            state[parameter] = _loaded_state(values, parameter, saved, f"parameter {name}")
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)


# One step of one group --------------------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """One parameter and what its step needs; all (…,) of one shape."""

    parameter: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    largest: Tensor | None


class _Batch(NamedTuple):
    """Parameters that one call can step: `_Slot` with lists."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    largest: Any  # a list, or None


def _refuse_sparse(group: dict[str, Any]) -> None:
    if group["lazy"]:
        return
    for index, parameter in enumerate(group["params"]):
        gradient = parameter.grad
        if gradient is not None and gradient.layout is not torch.strided:
            raise RuntimeError(
                f"Adam does not support sparse gradients, please consider SparseAdam instead, or lazy=True. "
                f"Received: a gradient of layout {gradient.layout} for params[{index}], of shape {tuple(parameter.shape)}"
            )


def _initial_state(parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
    step_dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    device = parameter.device if group["capturable"] else "cpu"
    names = _MOMENTS if group["amsgrad"] else _MOMENTS[:2]
    dtype = _moment_dtype(parameter)
    return {
        "step": torch.zeros((), dtype=step_dtype, device=device),
        **{
            name: torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)
            for name in names
        },
    }


def _moment_dtype(parameter: Tensor) -> torch.dtype:
    """The dtype of the arithmetic: float64 for float64, float32 for 32 bits or less, and their complex counterparts."""
    if parameter.is_complex():
        return torch.complex128 if parameter.dtype == torch.complex128 else torch.complex64
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def _local(slot: _Slot) -> _Slot:
    """The real numbers that are stepped: this process's shard of a DTensor; a complex number as two real ones.

    They share memory with the tensors given.
    """
    parameter, gradient = slot.parameter, slot.gradient
    if hasattr(parameter, "to_local"):
        if getattr(gradient, "placements", None) != parameter.placements:
            gradient = gradient.redistribute(parameter.device_mesh, parameter.placements)
        slot = _Slot(
            *(None if tensor is None else tensor.to_local() for tensor in slot._replace(gradient=gradient))  # pyright: ignore
        )
    if slot.parameter.is_complex():
        slot = slot._replace(gradient=slot.gradient.resolve_conj())
        slot = _Slot(*(None if tensor is None else torch.view_as_real(tensor) for tensor in slot))  # pyright: ignore
    return slot


def _kind(slot: _Slot) -> tuple[Any, ...]:
    """What tensors must have in common so that one call of PyTorch can take them all; unique where none can."""
    if type(slot.parameter) in cpu.PLAIN_TYPES and slot.gradient.layout is torch.strided:
        return (slot.parameter.device, slot.parameter.dtype, slot.gradient.dtype)
    return (id(slot.parameter),)


def _coefficients(group: dict[str, Any], step: Any, xp: Any = math) -> rule.Coefficients:
    beta_1, beta_2 = group["betas"]
    lr = group["lr"]
    return rule.coefficients(
        step,
        lr if xp is torch else float(lr),
        rule.Decay.of(float(beta_1)),
        rule.Decay.of(float(beta_2)),
        group["eps"],
        group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        xp=xp,
    )


def _step_by_operations(batch: _Batch, group: dict[str, Any], done: Any) -> None:
    """The rule by PyTorch's operations, in place, on tensors of one kind."""
    on_device = isinstance(done, Tensor)
    k = _coefficients(group, done.double() + 1, torch) if on_device else _coefficients(group, done + 1)
    one = batch.parameters[0]
    if len(batch.parameters) == 1:
        _step_one(_Slot(one, *(column[0] for column in batch[1:])), group, k)
        return
    dtype = _moment_dtype(one)
    tensors = [_Tensors([tensor.to(dtype) for tensor in column]) for column in batch[:4]]
    if group["maximize"]:
        tensors[1] = -1.0 * tensors[1]
    largest = _Tensors(batch.largest) if group["amsgrad"] else None
    new = rule.update(*tensors, largest, k, xp=_Tensors)
    for old, changed in zip((batch.parameters, *batch[2:]), new, strict=True):
        if changed is not None:
            torch._foreach_copy_(old, changed.tensors)


def _step_one(slot: _Slot, group: dict[str, Any], k: rule.Coefficients) -> None:
    if slot.gradient.layout is not torch.strided:
        _step_present(slot, group, k)
        return
    dtype = _moment_dtype(slot.parameter)
    gradient = slot.gradient.to(dtype)
    new = rule.update(
        slot.parameter.to(dtype),
        -gradient if group["maximize"] else gradient,
        *slot[2:],
        k,
        xp=torch,
    )
    for old, changed in zip((slot.parameter, *slot[2:]), new, strict=True):
        if old is not None:
            old.copy_(changed)


def _step_present(slot: _Slot, group: dict[str, Any], k: rule.Coefficients) -> None:
    """Step only the entries that a sparse gradient has."""
    gradient = slot.gradient if slot.gradient.layout is torch.sparse_coo else slot.gradient.to_sparse_coo()
    gradient = gradient.coalesce()
    present = tuple(gradient.indices())
    values = gradient.values()
    if values.numel() == 0:
        return
    if slot.parameter.is_complex():
        values = torch.view_as_real(values)
        slot = _Slot(
            *(None if tensor is None else torch.view_as_real(tensor) for tensor in slot._replace(gradient=slot.first))
        )  # pyright: ignore
    part = _Slot(*(None if tensor is None else tensor[present] for tensor in slot._replace(gradient=slot.first)))  # pyright: ignore
    _step_one(part._replace(gradient=values), group, k)
    for whole, changed in zip((slot.parameter, *slot[2:]), (part.parameter, *part[2:]), strict=True):
        if whole is not None:
            whole[present] = changed


def _advance(steps: list[Tensor]) -> None:
    """Add 1 to the step counters."""
    on_cpu = [step for step in steps if step.device.type == "cpu"]
    if on_cpu:
        torch._foreach_add_(on_cpu, _ONE, alpha=1.0)
    for step in steps if len(on_cpu) < len(steps) else ():
        if step.device.type != "cpu":
            step.add_(1)


_ONE = torch.tensor(1.0)


class _Tensors:
    """A list of tensors with the arithmetic that `rule.update` needs, each operation one call for all of them.

    It is its own array namespace, so that the rule is written once.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def __add__(self, other: Any) -> "_Tensors":
        return _Tensors(torch._foreach_add(self.tensors, _bare(other)))

    def __sub__(self, other: Any) -> "_Tensors":
        return _Tensors(torch._foreach_sub(self.tensors, _bare(other)))

    def __mul__(self, other: Any) -> "_Tensors":
        return _Tensors(torch._foreach_mul(self.tensors, _bare(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "_Tensors":
        return _Tensors(torch._foreach_div(self.tensors, _bare(other)))

    @staticmethod
    def sqrt(x: "_Tensors") -> "_Tensors":
        return _Tensors(torch._foreach_sqrt(x.tensors))

    @staticmethod
    def maximum(x: "_Tensors", y: "_Tensors") -> "_Tensors":
        return _Tensors(torch._foreach_maximum(x.tensors, y.tensors))


def _bare(operand: Any) -> Any:
    return operand.tensors if isinstance(operand, _Tensors) else operand


# Checks -----------------------------------------------------------------------------------------------------------------


def _checked(options: dict[str, Any], where: str = "") -> dict[str, Any]:
    """`options` with betas as two floats; raises as `torch.optim.Adam` does, naming the option and what is accepted."""
    suffix = f" ({where})" if where else ""
    lr, betas, foreach, capturable = (options[name] for name in ("lr", "betas", "foreach", "capturable"))
    for name in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "lazy"):
        rule.check_flag(name, options[name])
    for name in ("foreach", "fused"):
        if options[name] is not None:
            rule.check_flag(name, options[name])
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
    if options["moment_dtype"] not in _MOMENT_DTYPES:
        accepted = " or ".join(map(repr, _MOMENT_DTYPES))
        raise ValueError(f"moment_dtype must be {accepted}. Received: {options['moment_dtype']!r}{suffix}")
    return {**options, "betas": tuple(map(float, betas))}


def _check_range(what: str, name: str, value: Any, suffix: str, below: float = math.inf) -> None:
    accepted = "a finite number >= 0" + (f" and < {below:g}" if below < math.inf else "")
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Tensor)):
        raise TypeError(f"{name} must be {accepted}. Received: {value!r} of type {type(value).__name__}{suffix}")
    if not 0 <= value < below:
        raise ValueError(f"Invalid {what}: {value}. {name} must be {accepted}{suffix}")


def _checked_groups(state_dict: dict[str, Any], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
            f"loaded state dict has a different number of parameter groups: {len(saved_groups)} instead of {len(groups)}"
        )
    required = ("lr", "betas", "eps", "weight_decay", "amsgrad")
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
        options = {name: saved.get(name, group[name]) for name in group if name not in ("params", "param_names")}
        if not isinstance(group["betas"][0], Tensor):
            options = _checked(options, where)
        saved.update(options)
    return saved_groups


def _loaded_state(values: Any, parameter: Tensor, group: dict[str, Any], name: str) -> dict[str, Any]:
    """One parameter's state from a checkpoint, copied and in this optimizer's dtypes."""
    if not isinstance(values, dict):
        raise TypeError(f"the state of {name} must be a dict. Received: {type(values).__name__}")
    if not values:
        return {}
    required = {"step", *(_MOMENTS if group["amsgrad"] else _MOMENTS[:2])}
    missing, unknown = required - set(values), set(values) - {"step", *_MOMENTS}
    if missing or unknown:
        raise ValueError(
            f"the state of {name} must have the keys {sorted(required)}. Received: {sorted(map(str, values))}"
        )
    step = values["step"]
    if isinstance(step, bool) or not isinstance(step, (numbers.Real, Tensor)):
        raise TypeError(f"'step' of {name} must be a number. Received: type {type(step).__name__}")
    if isinstance(step, Tensor) and step.numel() != 1 or not 0 <= float(step) < math.inf:
        raise ValueError(f"'step' of {name} must be one finite number >= 0. Received: {step}")
    step_dtype = torch.float64 if getattr(step, "dtype", None) == torch.float64 else torch.float32
    device = parameter.device if group["capturable"] else "cpu"
    loaded: dict[str, Any] = {"step": torch.as_tensor(step).detach().reshape(()).to(device, step_dtype, copy=True)}
    for key in _MOMENTS:
        if key not in values:
            continue
        moment = values[key]
        if not isinstance(moment, Tensor):
            raise TypeError(f"{key!r} of {name} must be a tensor. Received: type {type(moment).__name__}")
        if moment.shape != parameter.shape:
            raise ValueError(
                f"{key!r} of {name} must have the parameter's shape {tuple(parameter.shape)}. "
                f"Received: {tuple(moment.shape)}"
            )
        if not (moment.is_floating_point() or parameter.is_complex() and moment.is_complex()):
            raise TypeError(f"{key!r} of {name} must be floating point. Received: {moment.dtype}")
        loaded[key] = moment.detach().to(parameter.device, _moment_dtype(parameter), copy=True)
    return loaded


def _shortened(values: Sequence[Any], most: int = 10) -> str:
    return ", ".join(map(repr, values[:most])) + (", …" if len(values) > most else "")
