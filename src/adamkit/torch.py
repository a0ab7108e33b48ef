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
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from adamkit import arrays, moments, rounding, rule
from adamkit.kernels import cpu
from adamkit.kernels.cpu import Form, compile_kernels

__all__ = ["Adam", "compile_kernels"]

_MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq", "largest": "max_exp_avg_sq"}  # PyTorch's names
_STATE = {**_MOMENTS, **{f"{moment}_scale": f"{name}_scale" for moment, name in _MOMENTS.items()}}
_STATE["remainder"] = "remainder"
_STORAGE = ("moment_dtype", "parameter_rounding")  # options that a checkpoint does not bring


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1) with `torch.optim.Adam`'s arguments and checkpoints.

    Arithmetic is float32, or float64 for float64 parameters, whatever dtype the parameter and its gradient have and in
    whatever form the moments are stored. Bias correction is computed in float64. Parameters on the CPU are stepped by
    one pass over memory that all parameters of a group share, on `torch.get_num_threads()` threads; any number of them
    gives the same bits.

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
        moment_dtype: How the two moments are stored: "float32" (8 bytes a parameter; float64 for float64 parameters),
            "bfloat16" (4 bytes) or "int8" (about 2 bytes; `adamkit.moments.format_of` says which tensors stay float32).
            A group may have its own.
        parameter_rounding: How a bfloat16 or float16 parameter keeps what a step adds to it; no effect on others.
            "compensated": all of it, in 2 more bytes an element for bfloat16 and 4 for float16, so that training is
            that of a float32 parameter to the bit. "compensated8": to 1/256 of the parameter's ulp, in 1 byte.
            "stochastic": on average, in none. "nearest": rounded to the nearest; small steps are lost. With
            `differentiable` always "nearest".
        rounding_seed: A whole number, 0 <= seed < 2³², from which the random bits of "compensated8" and "stochastic"
            are made: the same seed, the same bits.
        lazy: What a sparse gradient means. True: only the entries that it has are stepped, and their moments with them,
            as in `torch.optim.SparseAdam`. False: it is an error, as in `torch.optim.Adam`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, there are no parameters, one occurs in two groups, or one cannot be
            stored as `moment_dtype` says.

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
        parameter_rounding: str = "compensated",
        rounding_seed: int = 0,
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
            "parameter_rounding": parameter_rounding,
            "rounding_seed": rounding_seed,
            "lazy": lazy,
        }
        self._verified: dict[int, _Verified] = {}
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
                _check_storable(parameter, options["moment_dtype"], f"params[{name!r}] of {where}")
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
        first = 0
        for group in self.param_groups:
            self._step_group(group, first)
            first += len(group["params"])
        return loss

    def _step_group(self, group: dict[str, Any], first_index: int) -> None:
        plain = not group["differentiable"]
        in_one_pass: dict[tuple[Form, float], list[tuple[int, ...]]] = defaultdict(list)
        by_operations: dict[tuple[Any, ...], list[_Slot]] = defaultdict(list)
        state_of, verified = self.state, self._verified
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
                slot = _slot(parameter, gradient, state, group, index)
                step = state["step"]
                if plain and step.is_cpu and cpu.applies(slot.form, slot.tensors):
                    addresses = [tensor.data_ptr() for tensor in slot.tensors]
                    in_one_pass[slot.form, step.item()].append((slot.tensors[0].numel(), *addresses, index))
                    if slot.tensors[0] is parameter and parameter.is_contiguous():
                        verified[id(parameter)] = _Verified.of(slot, addresses, options)
                else:
                    by_operations[_kind(slot, step)].append(slot)
            parameters.append(parameter)
            steps.append(state["step"])
        for (form, done), rows in in_one_pass.items():
            sizes, *columns, indices = zip(*rows, strict=True)
            number = int(done) + 1
            if "key" in form.columns():
                key = rounding.random_key(group["rounding_seed"], number, np.array(indices, np.int32), np)
                columns.append(key.tolist())
            k = _coefficients(group, done + 1)
            threads = torch.get_num_threads()
            cpu.step_at(form, sizes, columns, k, threads, number=number, maximize=group["maximize"])
        for (done, *_), slots in by_operations.items():
            with torch.set_grad_enabled(not plain):
                _step_by_operations(slots, group, done)
        _advance(steps, group)
        if plain and parameters:
            torch.autograd.graph.increment_version(parameters)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint of this optimizer, of `torch.optim.Adam` or of `torch.optim.AdamW`.

        The moments are stored as this optimizer stores them, in whatever format they come. So `moment_dtype` and
        `parameter_rounding` stay, and so do options that the checkpoint lacks; all others are the checkpoint's. What
        `parameter_rounding` keeps beside a parameter is taken over if both optimizers keep it alike.

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
            (parameter, saved, index)
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
            parameter, saved, index = by_id[key]
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
    """One parameter and what its step needs."""

    form: Form
    tensors: tuple[Any, ...]  # in the order of the form's columns; a remainder and scales apart, all (…,) of one shape
    position: int  # of the parameter among those of the optimizer

    def column(self, name: str) -> Any:
        """The tensor of that name, or None if the form has none."""
        return dict(zip(self.form.columns(), self.tensors, strict=False)).get(name)


class _Verified(NamedTuple):
    """A parameter that one pass over memory can step, and what that depends on."""

    options: tuple[Any, ...]
    form: Form
    dtype: torch.dtype
    size: int
    parameter: int  # its address
    names: tuple[str, ...]  # of what is in its state
    state: list[int]  # their addresses

    @classmethod
    def of(cls, slot: _Slot, addresses: list[int], options: tuple[Any, ...]) -> "_Verified":
        parameter = slot.tensors[0]
        names = _state_names(slot.form)
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


@functools.cache
def _state_names(form: Form) -> tuple[str, ...]:
    """What the state of a parameter holds besides "step", in the order of the form's columns."""
    return tuple(_STATE[column] for column in form.columns() if column in _STATE)


def _slot(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], index: int) -> _Slot:
    """What a step of the parameter needs; its state is begun, or brought into the group's form, if need be."""
    form = _form(parameter, group)
    if not state:
        step_dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        state["step"] = torch.zeros((), dtype=step_dtype, device=parameter.device if group["capturable"] else "cpu")
    names = _state_names(form)
    if any(name not in state or state[name].dtype is not dtype for name, dtype in _state_dtypes(form)):
        state.update(_state_in_form(state, parameter, form))
    for name in set(_STATE.values()) - set(names):  # of another form, before
        if name != _MOMENTS["largest"]:
            state.pop(name, None)
    slot = _Slot(form, (parameter, gradient, *(state[name] for name in names)), index)
    return slot if type(parameter) in cpu.PLAIN_TYPES and not parameter.is_complex() else _local(slot)


@functools.cache
def _state_dtypes(form: Form) -> tuple[tuple[str, torch.dtype], ...]:
    return tuple((_STATE[column], dtype) for column, dtype in form.columns().items() if column in _STATE and dtype)


def _form(parameter: Tensor, group: dict[str, Any]) -> Form:
    """How the parameter and its moments are stored."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    narrow = dtype in rounding.NARROW and not group["differentiable"]
    return Form(
        dtype,
        moments.format_of(parameter.numel(), group["moment_dtype"]),
        group["parameter_rounding"] if narrow else "nearest",
        group["amsgrad"],
    )


def _refuse_sparse(group: dict[str, Any]) -> None:
    if group["lazy"]:
        return
    for index, parameter in enumerate(group["params"]):
        if (gradient := parameter.grad) is not None and gradient.layout is not torch.strided:
            raise RuntimeError(
                "Adam does not support sparse gradients, please consider SparseAdam instead, or lazy=True. Received: "
                f"a gradient of layout {gradient.layout} for params[{index}], of shape {tuple(parameter.shape)}"
            )


def _state_in_form(state: dict[str, Any], parameter: Tensor, form: Form) -> dict[str, Tensor]:
    """The moments of a state, in whatever format they are, and its remainder, as the form has them; zeros for none."""
    new = {}
    layout = torch.contiguous_format if form.moments == "int8" else torch.preserve_format
    for name, dtype in _state_dtypes(form):
        if name.endswith("_scale"):
            new[name] = torch.zeros(moments.blocks(parameter.numel()), dtype=dtype, device=parameter.device)
        else:
            new[name] = torch.zeros_like(parameter, dtype=dtype, memory_format=layout, requires_grad=False)
    for column, name in _MOMENTS.items():
        if name in state and name in new:
            wide = _decoded(state[name], state.get(f"{name}_scale"), column, form.arithmetic())
            stored = _encoded(wide, column, form, int(state["step"]))
            for key, value in zip((name, f"{name}_scale"), stored, strict=False):
                new[key].copy_(value)
    if "remainder" in new and "remainder" in state and state["remainder"].dtype is new["remainder"].dtype:
        new["remainder"].copy_(state["remainder"])
    return new


def _decoded(stored: Tensor, scale: Tensor | None, column: str, dtype: torch.dtype) -> Tensor:
    """A moment of any format at full width."""
    if scale is None:
        return stored.to(dtype)
    decode = moments.decode_first if column == "first" else moments.decode_second
    return decode(stored, scale, torch).to(dtype)


def _encoded(moment: Tensor, column: str, form: Form, step: int | Tensor) -> tuple[Tensor, ...]:
    """A moment at full width in the form's format, with its scales if it has any."""
    if form.moments == "float32":
        return (moment,)
    moment = moment.float()
    if form.moments == "bfloat16":
        return (moments.round_to_bfloat16(moment, torch.as_tensor(step, device=moment.device), _BITS).bfloat16(),)
    return (moments.encode_first if column == "first" else moments.encode_second)(moment, step, torch)


_BITS = arrays.namespace(torch)


def _local(slot: _Slot) -> _Slot:
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
        slot = _as_real(slot._replace(tensors=(parameter, gradient.resolve_conj(), *state)))
    return slot


def _as_real(slot: _Slot) -> _Slot:
    form = slot.form._replace(parameter=str(slot.tensors[0].real.dtype).removeprefix("torch."))
    return slot._replace(form=form, tensors=tuple(map(torch.view_as_real, slot.tensors)))


def _kind(slot: _Slot, step: Tensor) -> tuple[Any, ...]:
    """Steps done, and what else tensors have in common that one call can step together; unique where none can."""
    if not step.is_cpu:
        return (step,)
    parameter, gradient, *_ = slot.tensors
    if type(parameter) in cpu.PLAIN_TYPES and gradient.layout is torch.strided:
        return (step.item(), slot.form, parameter.device, gradient.dtype)
    return (step.item(), id(parameter))


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
        number: int | Tensor = done.to(torch.int64) + 1
    else:
        k = _coefficients(group, float(done) + 1)
        number = int(done) + 1
    if len(slots) == 1 and slots[0].tensors[1].layout is not torch.strided:
        _step_present(slots[0], group, k, number)
        return
    read = [_read(slot, group["maximize"]) for slot in slots]
    if len(slots) == 1:
        news = [rule.update(*read[0], k=k, xp=_Tensor)]
    else:
        lists = (None if tensors[0] is None else _Tensors(tensors) for tensors in zip(*read, strict=True))
        new = rule.update(*lists, k=k, xp=_Tensors)
        news = [
            rule.Update(*values)
            for values in zip(*([None] * len(slots) if x is None else x.tensors for x in new), strict=True)
        ]
    written = [_written(slot, new, group["rounding_seed"], number) for slot, new in zip(slots, news, strict=True)]
    for pairs in zip(*written, strict=True):
        if len(pairs) == 1:
            pairs[0][0].copy_(pairs[0][1])
        else:
            torch._foreach_copy_([old for old, _ in pairs], [new for _, new in pairs])


def _read(slot: _Slot, maximize: bool) -> tuple[Any, ...]:
    """θ, g, m, v and the largest v (or None) at the width of the arithmetic."""
    dtype = slot.form.arithmetic()
    parameter, gradient = slot.tensors[:2]
    if slot.form.parameter in rounding.NARROW:
        theta = rounding.restore(parameter, slot.column("remainder"), torch)
    else:
        theta = parameter.to(dtype)
    gradient = gradient.to(dtype)
    columns = slot.form.columns()
    moment = (
        _decoded(slot.column(name), slot.column(f"{name}_scale"), name, dtype) if name in columns else None
        for name in _MOMENTS
    )
    return theta, -gradient if maximize else gradient, *moment


def _written(slot: _Slot, new: rule.Update, seed: int, number: int | Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The slot's tensors, each with what it becomes."""
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
    for column, moment in zip(_MOMENTS, new[1:], strict=True):
        if moment is not None:
            stored = _encoded(moment, column, form, number)
            yield from zip((slot.column(column), slot.column(f"{column}_scale")), stored, strict=False)


def _step_present(slot: _Slot, group: dict[str, Any], k: rule.Coefficients, number: int | Tensor) -> None:
    """Step only the entries that a sparse gradient has."""
    parameter, gradient, *state = slot.tensors
    gradient = (gradient if gradient.layout is torch.sparse_coo else gradient.to_sparse_coo()).coalesce()
    present = tuple(gradient.indices())
    values = gradient.values()
    if values.numel() == 0:
        return
    part = slot._replace(tensors=(parameter[present], values.resolve_conj(), *(tensor[present] for tensor in state)))
    whole = (parameter, *state)
    if parameter.is_complex():
        part, whole = _as_real(part), tuple(map(torch.view_as_real, whole))
    new = rule.update(*_read(part, group["maximize"]), k=k, xp=_Tensor)
    changed = {id(old): value for old, value in _written(part, new, group["rounding_seed"], number)}
    for old, here in zip(whole, (part.tensors[0], *part.tensors[2:]), strict=True):
        old[present] = changed[id(here)].to(old.dtype)


def _advance(steps: list[Tensor], group: dict[str, Any]) -> None:
    """Add 1 to the step counters."""
    if steps:
        if group["capturable"]:
            torch._foreach_add_(steps, 1)
        else:
            torch._foreach_add_(steps, _ONE, alpha=1.0)  # much faster on the CPU than adding a Python number


_ONE = torch.tensor(1.0)


class _Tensor:
    """The array namespace of one tensor."""

    maximum = staticmethod(torch.maximum)

    @staticmethod
    def sqrt(x: Tensor) -> Tensor:
        """The nearest number to √x. PyTorch's own is not always that on the CPU, where it may be MKL's."""
        if not x.is_cpu or x.requires_grad or type(x) is not Tensor:
            return torch.sqrt(x)
        with np.errstate(invalid="ignore"):
            return torch.from_numpy(np.asarray(np.sqrt(x.numpy())))


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
        if x.tensors[0].is_cpu:
            return _Tensors(list(map(_Tensor.sqrt, x.tensors)))
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
    try:
        moments.check_format("moment_dtype", options["moment_dtype"])
        rounding.check_rounding("parameter_rounding", options["parameter_rounding"])
        rounding.check_seed("rounding_seed", options["rounding_seed"])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}{suffix}") from None
    for name, reason in (("differentiable", "rounding has no derivative"), ("lazy", "a block is stored as a whole")):
        refused = ("bfloat16", "int8") if name == "differentiable" else ("int8",)
        if options[name] and options["moment_dtype"] in refused:
            raise ValueError(
                f"moment_dtype={options['moment_dtype']!r} does not go with {name}=True: {reason}. "
                f"Use moment_dtype='float32'{suffix}"
            )
    return {**options, "betas": tuple(map(float, betas))}


def _check_storable(parameter: Tensor, moment_dtype: str, where: str) -> None:
    if moment_dtype == "float32":
        return
    if moment_dtype == "int8" and (parameter.dtype == torch.float64 or hasattr(parameter, "to_local")):
        kind = "torch.float64" if parameter.dtype == torch.float64 else "a DTensor"
        accepted = "parameters of 32 bits or less, and no DTensor"
    elif parameter.is_complex():
        kind, accepted = str(parameter.dtype), "real parameters"
    else:
        return
    raise ValueError(f"moment_dtype={moment_dtype!r} needs {accepted}. Received: {where} is {kind}")


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
        saved.update({**options, **{name: group[name] for name in _STORAGE}})
    return saved_groups


def _loaded_state(values: Any, parameter: Tensor, group: dict[str, Any], name: str) -> dict[str, Any]:
    """One parameter's state from a checkpoint, copied and in this optimizer's dtypes."""
    if not isinstance(values, dict):
        raise TypeError(f"the state of {name} must be a dict. Received: {type(values).__name__}")
    if not values:
        return {}
    names = [_MOMENTS[column] for column in ("first", "second", "largest")[: 3 if group["amsgrad"] else 2]]
    required = {"step", *names}
    missing, unknown = required - set(values), set(values) - {"step", *_STATE.values()}
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
    form = _form(parameter, group)
    for key in _MOMENTS.values():
        if key in values:
            _check_moment(values, key, parameter, name)
    remainder = values.get("remainder")
    if remainder is not None:
        _check_tensor("remainder", remainder, parameter.shape, name)
        if remainder.dtype not in (torch.int8, torch.int16, torch.float32):
            raise TypeError(f"'remainder' of {name} must be int8, int16 or float32. Received: {remainder.dtype}")
    if "max_exp_avg_sq" in values:
        form = form._replace(amsgrad=True)
    saved = {
        key: value.detach().to(parameter.device) if isinstance(value, Tensor) else value
        for key, value in values.items()
        if key != "step"
    }
    in_format = all(saved.get(key) is not None and saved[key].dtype is dtype for key, dtype in _state_dtypes(form))
    if not in_format:
        saved = _state_in_form({**saved, "step": loaded["step"]}, parameter, form)
    loaded.update({key: saved[key].clone() for key in _state_names(form)})
    return loaded


def _check_moment(values: dict[str, Any], key: str, parameter: Tensor, name: str) -> None:
    """That a checkpoint's moment is in a known format, and whole."""
    moment, scale = values[key], values.get(f"{key}_scale")
    _check_tensor(key, moment, parameter.shape, name)
    if moment.dtype == torch.uint8:
        _check_tensor(f"{key}_scale", scale, (moments.blocks(parameter.numel()),), name)
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


def _shortened(values: Sequence[Any], most: int = 10) -> str:
    return ", ".join(map(repr, values[:most])) + (", …" if len(values) > most else "")
