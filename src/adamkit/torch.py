"""Adam for PyTorch: a drop-in for `torch.optim.Adam` and `torch.optim.AdamW`.

Parameters on the CPU are stepped by one parallel pass over memory (`adamkit.kernels.cpu`); everything else by PyTorch's
own operations, through `adamkit.rule`.
"""

# pyright: reportPrivateImportUsage=false
# The operations on lists of tensors (`torch._foreach_add` and the like) are documented but not exported.

import functools
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
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1) with `torch.optim.Adam`'s arguments and checkpoints.

    Arithmetic is float32, or float64 for float64 parameters, whatever dtype the parameter and its gradient have; so are
    the moments. Bias correction is computed in float64. Parameters on the CPU are stepped by one pass over memory that
    all parameters of a group share, on `torch.get_num_threads()` threads; any number of them gives the same bits.

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
        lazy: What a sparse gradient means. True: only the entries that it has are stepped, and their moments with them,
            as in `torch.optim.SparseAdam`. False: it is an error, as in `torch.optim.Adam`.

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
        self._verified: dict[int, tuple[int, ...]] = {}
        super().__init__(params, _checked(defaults))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state from `load_state_dict`, `copy.deepcopy` or `pickle`."""
        super().__setstate__(state)
        self._verified = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own, as `torch.optim.Optimizer.add_param_group`.

        Args:
            param_group: "params" and any of the constructor's options. A wrong one raises what the constructor would
                raise and leaves the optimizer as it was.
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
        for group in self.param_groups:
            _refuse_sparse(group)
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        amsgrad, plain = group["amsgrad"], not group["differentiable"]
        in_one_pass: dict[tuple[torch.dtype, float], _Addresses] = {}
        by_operations: dict[tuple[Any, ...], list[_Slot]] = defaultdict(list)
        state_of, verified = self.state, self._verified
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
            parameters.append(parameter)
            steps.append(step)
            slot = _Slot(parameter, gradient, first, second, largest)
            if type(parameter) not in cpu.PLAIN_TYPES or parameter.is_complex():
                slot = _local(slot)
            remembered = verified if slot.parameter is parameter else {}
            if plain and step.is_cpu and (addresses := _addresses(slot, remembered)) is not None:
                key = (slot.parameter.dtype, step.item())
                batch = in_one_pass.get(key)
                if batch is None:
                    batch = in_one_pass[key] = _Addresses([], [], [], [], [], [])
                for column, value in zip(batch, addresses, strict=True):
                    column.append(value)
            else:
                by_operations[_kind(slot, step)].append(slot)
        for (dtype, done), (sizes, *addresses) in in_one_pass.items():
            k = _coefficients(group, done + 1)
            cpu.step_at(
                dtype,
                sizes,
                addresses if amsgrad else [*addresses[:4], ()],
                k,
                torch.get_num_threads(),
                maximize=group["maximize"],
            )
        for (done, *_), slots in by_operations.items():
            with torch.set_grad_enabled(not plain):
                _step_by_operations(slots, group, done)
        _advance(steps, group)
        if plain and parameters:
            torch.autograd.graph.increment_version(parameters)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint of this optimizer, of `torch.optim.Adam` or of `torch.optim.AdamW`.

        The moments take this optimizer's dtype, whatever the parameter's. Options that the checkpoint lacks stay.

        Args:
            state_dict: What `state_dict()` returned.

        Raises:
            KeyError: It lacks "state" or "param_groups".
            TypeError: It, or one of its parts, has the wrong type.
            ValueError: It belongs to other parameters, or is not a state of Adam. The optimizer is left as it was in
                every case.
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


# One step of one group ----------------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """One parameter and what its step needs; all (…,) of one shape."""

    parameter: Any
    gradient: Any
    first: Any
    second: Any
    largest: Any  # None without AMSGrad

    def map(self, function: Callable[[Tensor], Tensor]) -> "_Slot":
        return _Slot(*(None if tensor is None else function(tensor) for tensor in self))


class _Addresses(NamedTuple):
    """Parameters that one pass over memory steps: a number of elements and five addresses of each."""

    sizes: list[int]
    parameters: list[int]
    gradients: list[int]
    first: list[int]
    second: list[int]
    largest: list[int]


def _addresses(slot: _Slot, verified: dict[int, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The parameter's entry in `_Addresses`, or None if `kernels.cpu` does not apply.

    `verified` remembers the parameters and moments for which it did, so that most steps look at the gradient alone.
    """
    parameter, gradient, first, second, largest = slot
    known = verified.get(id(parameter))
    if known is not None:
        place = (
            parameter.numel(),
            parameter.data_ptr(),
            first.data_ptr(),
            second.data_ptr(),
            0 if largest is None else largest.data_ptr(),
        )
        if (
            place == known
            and parameter.is_contiguous()
            and type(gradient) is Tensor
            and gradient.dtype is parameter.dtype
            and gradient.is_cpu
            and gradient.layout is torch.strided
            and gradient.numel() == place[0]
            and gradient.is_contiguous()
            and not gradient.is_neg()
        ):
            return (place[0], place[1], gradient.data_ptr(), *place[2:])
        del verified[id(parameter)]
    tensors = slot[:4] if largest is None else slot
    if not cpu.applies(*tensors):
        return None
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in slot]
    if parameter.is_contiguous():
        verified[id(parameter)] = (parameter.numel(), pointers[0], *pointers[2:])
    return (parameter.numel(), *pointers)


def _refuse_sparse(group: dict[str, Any]) -> None:
    if group["lazy"]:
        return
    for index, parameter in enumerate(group["params"]):
        if (gradient := parameter.grad) is not None and gradient.layout is not torch.strided:
            raise RuntimeError(
                "Adam does not support sparse gradients, please consider SparseAdam instead, or lazy=True. Received: "
                f"a gradient of layout {gradient.layout} for params[{index}], of shape {tuple(parameter.shape)}"
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
    if hasattr(slot.parameter, "to_local"):
        mesh, placements = slot.parameter.device_mesh, slot.parameter.placements
        if slot.gradient.placements != placements:
            slot = slot._replace(gradient=slot.gradient.redistribute(mesh, placements))
        slot = slot.map(_shard)
    if slot.parameter.is_complex() and slot.gradient.layout is torch.strided:
        slot = slot._replace(gradient=slot.gradient.resolve_conj()).map(torch.view_as_real)
    return slot


def _shard(tensor: Any) -> Tensor:
    return tensor.to_local()


def _kind(slot: _Slot, step: Tensor) -> tuple[Any, ...]:
    """Steps done, and what else tensors have in common that one call can step together; unique where none can."""
    if not step.is_cpu:
        return (step,)
    if type(slot.parameter) in cpu.PLAIN_TYPES and slot.gradient.layout is torch.strided:
        return (step.item(), slot.parameter.device, slot.parameter.dtype, slot.gradient.dtype)
    return (step.item(), id(slot.parameter))


def _coefficients(group: dict[str, Any], step: Any, xp: Any = math) -> rule.Coefficients:
    beta_1, beta_2 = group["betas"]
    lr = group["lr"]
    return rule.coefficients(
        step,
        lr if xp is torch else float(lr),
        _decay(float(beta_1)),
        _decay(float(beta_2)),
        group["eps"],
        group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        xp=xp,
    )


_decay = functools.lru_cache(rule.Decay.of)


def _step_by_operations(slots: list[_Slot], group: dict[str, Any], done: float | Tensor) -> None:
    """The rule by PyTorch's operations, in place, on tensors of one kind."""
    if isinstance(done, Tensor) and group["capturable"]:
        k = _coefficients(group, done.double() + 1, torch)
    else:
        k = _coefficients(group, float(done) + 1)
    if len(slots) == 1:
        _step_one(slots[0], group, k)
        return
    dtype = _moment_dtype(slots[0].parameter)
    parameters, gradients, *moments = zip(*slots, strict=True)
    theta, gradient, first, second = (
        _Tensors([tensor.to(dtype) for tensor in tensors]) for tensors in (parameters, gradients, *moments[:2])
    )
    gradient = -1.0 * gradient if group["maximize"] else gradient
    largest = _Tensors(moments[2]) if group["amsgrad"] else None
    new = rule.update(theta, gradient, first, second, largest, k, xp=_Tensors)
    for old, changed in zip((parameters, *moments), new, strict=True):
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
        values = torch.view_as_real(values.resolve_conj())
        slot = slot._replace(gradient=None).map(torch.view_as_real)
    part = slot._replace(gradient=None).map(lambda tensor: tensor[present])
    _step_one(part._replace(gradient=values), group, k)
    for whole, changed in zip((slot.parameter, *slot[2:]), (part.parameter, *part[2:]), strict=True):
        if whole is not None:
            whole[present] = changed


def _advance(steps: list[Tensor], group: dict[str, Any]) -> None:
    """Add 1 to the step counters."""
    if steps:
        if group["capturable"]:
            torch._foreach_add_(steps, 1)
        else:
            torch._foreach_add_(steps, _ONE, alpha=1.0)  # much faster on the CPU than adding a Python number


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


# Checks -------------------------------------------------------------------------------------------------------------


def _checked(options: dict[str, Any], where: str = "") -> dict[str, Any]:
    """`options` with betas as two floats; raises as `torch.optim.Adam` does, naming the option and what is accepted."""
    suffix = f" ({where})" if where else ""
    lr, betas, foreach, capturable = (options[name] for name in ("lr", "betas", "foreach", "capturable"))
    for name in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "lazy"):
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
    if options["moment_dtype"] not in _MOMENT_DTYPES:
        accepted = " or ".join(map(repr, _MOMENT_DTYPES))
        raise ValueError(f"moment_dtype must be {accepted}. Received: {options['moment_dtype']!r}{suffix}")
    return {**options, "betas": tuple(map(float, betas))}


def _check_range(what: str, name: str, value: Any, suffix: str, below: float = math.inf) -> None:
    accepted = "a finite number >= 0" + (f" and < {below:g}" if below < math.inf else "")
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Tensor)):
        raise TypeError(f"{name} must be {accepted}. Received: {value!r} of type {type(value).__name__}{suffix}")
    if not 0 <= float(value) < below:
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
            "loaded state dict has a different number of parameter groups: "
            f"{len(saved_groups)} instead of {len(groups)}"
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
    if (isinstance(step, Tensor) and step.numel() != 1) or not 0 <= float(step) < math.inf:
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
        if not (moment.is_floating_point() or (parameter.is_complex() and moment.is_complex())):
            raise TypeError(f"{key!r} of {name} must be floating point. Received: {moment.dtype}")
        loaded[key] = moment.detach().to(parameter.device, _moment_dtype(parameter), copy=True)
    return loaded


def _shortened(values: Sequence[Any], most: int = 10) -> str:
    return ", ".join(map(repr, values[:most])) + (", …" if len(values) > most else "")
