"""The class: `torch.optim.Optimizer`'s interface to what the other files of this package do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.optim.optimizer import Optimizer, ParamsT

from adamkit.description import Description
from adamkit.guards import check_nonfinite, not_finite
from adamkit.torch.arguments import checked, checked_parameters
from adamkit.torch.automatic import found_rate
from adamkit.torch.averages import refuse_averages, use_averages
from adamkit.torch.checkpoints import checked_groups, loaded_state
from adamkit.torch.describing import describe
from adamkit.torch.guards import first_nonfinite
from adamkit.torch.internals import load_hooks, outside_of_graphs
from adamkit.torch.one_pass import Memory
from adamkit.torch.steps import refuse_capture, refuse_sparse, step_group
from adamkit.variants import SWITCHES


class Adam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1) with `torch.optim.Adam`'s arguments and checkpoints.

    Arithmetic is float32, or float64 for float64 parameters, whatever dtype the parameter and its gradient have and in
    whatever form the moments are stored. Bias correction is computed in float64. Parameters on the CPU are stepped by
    one pass over memory that all parameters of a group share, on `torch.get_num_threads()` threads; any number of them
    gives the same bits.

    Args:
        params: The parameters to optimize, (name, parameter) pairs, or dicts of them with options of their own, as in
            `torch.optim`. Parameters without a gradient are left alone.
        lr: η >= 0, the learning rate; a number or a tensor with one element. Or "auto": it is found while training
            (Prodigy, Mishchenko and Defazio 2023, arXiv:2306.06101), for each group by itself, from 1e-6 upwards; the
            group's "lr" is always what it is now, and no scheduler is to set it. Two more arrays are kept of each
            parameter, and a step reads all gradients before it.
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
        on_nonfinite: What a step does where a gradient has a NaN or an infinity. "propagate": what the formula gives,
            NaN. "skip": nothing; parameters, moments and step counts stay as they are, and `skipped_steps` counts it.
            "raise": nothing but a FloatingPointError that names the parameter and the step. It reads each gradient
            before the step. Not with `capturable`.
        lazy: What a sparse gradient means. True: only the entries that it has are stepped, and their moments with them,
            as in `torch.optim.SparseAdam`. "exact": the moments of an entry first decay for the steps that it missed,
            so that they are dense Adam's; the last step of each row is kept in 4 bytes. Not with `differentiable`, and
            weight decay must be decoupled. False: it is an error, as in `torch.optim.Adam`.
        nesterov: NAdam (Dozat 2016): m̂ = β₁·m/(1 − β₁ᵗ⁺¹) + (1 − β₁)·g/(1 − β₁ᵗ). This switch, those below and
            `momentum_decay` a group may have of its own.
        rectified: RAdam (Liu et al. 2020, arXiv:1908.03265), as `torch.optim.RAdam`, but with ε after bias correction:
            the first steps are momentum alone, and the next smaller, while v knows too little.
        cautious: Of a step, only what goes against the gradient (Liang et al. 2024, arXiv:2411.16085).
        adopt: ADOPT (Taniguchi et al. 2024, arXiv:2411.02853), which converges for any β₂: the gradient is divided by
            the root of the v before it, and m is the mean of that. The first step only sets v. Its paper has
            betas=(0.9, 0.9999), eps=1e-6.
        schedule_free: Defazio et al. 2024 (arXiv:2405.15682): no schedule of the learning rate is needed. Gradients are
            taken at y, which the parameters are while training; what is to be used is x, the mean of z on the way,
            which `eval()` makes them. Not with `capturable`, `differentiable` or
            `lazy`.
        blockwise: Adam-mini (Zhang et al. 2024, arXiv:2406.16793): what leads to one output shares one v, the mean of
            its g², so that v is next to nothing: 4 bytes a parameter with float32 moments, 2 with "bfloat16", 1 with
            "int8", which leaves v float32. A block is one index of a weight's first axis, for an embedding a token, and
            a vector is one block. Not with `rectified`, `lazy` or DTensors.
        momentum_decay: ψ > 0: with `nesterov` β₁ stands for β₁·(1 − ½·0.96^(tψ)) there, the momentum schedule of
            `torch.optim.NAdam`, whose default is 0.004. None: no schedule.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, two do not go together, there are no parameters, one occurs in two
            groups, or one cannot be stored as `moment_dtype` says.

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

    on_nonfinite = "propagate"  # of optimizers that were pickled before there was a choice
    skipped_steps = 0

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor | str = 1e-3,
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
        lazy: bool | str = False,
        on_nonfinite: str = "propagate",
        nesterov: bool = False,
        rectified: bool = False,
        cautious: bool = False,
        adopt: bool = False,
        schedule_free: bool = False,
        blockwise: bool = False,
        momentum_decay: float | None = None,
    ) -> None:
        self.on_nonfinite = check_nonfinite("on_nonfinite", on_nonfinite)
        if capturable and on_nonfinite != "propagate":
            raise ValueError(f"on_nonfinite must be 'propagate' with capturable=True. Received: {on_nonfinite!r}")
        defaults = {
            "lr": lr,
            "auto": isinstance(lr, str) and lr == "auto",
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
            "nesterov": nesterov,
            "rectified": rectified,
            "cautious": cautious,
            "adopt": adopt,
            "schedule_free": schedule_free,
            "blockwise": blockwise,
            "momentum_decay": momentum_decay,
        }
        self._memory = Memory()
        # Not `torch.optim.Adam.__init__`, whose checks are narrower: the class is inherited so that code which asks
        # whether an optimizer is an Adam is told that it is.
        Optimizer.__init__(self, params, checked(defaults))

    def __getstate__(self) -> dict[str, Any]:
        """What `copy.deepcopy` and `pickle` take."""
        own = {name: getattr(self, name) for name in ("on_nonfinite", "skipped_steps")}
        return super().__getstate__() | own  # pyright: ignore[reportAttributeAccessIssue]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state from `load_state_dict`, `copy.deepcopy` or `pickle`."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name in SWITCHES:  # which a pickle of before does not have
                group.setdefault(name, False)
            group.setdefault("auto", False)
            group.setdefault("momentum_decay", None)
        self._memory = Memory()

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
        if "lr" in param_group and "auto" not in param_group:
            options["auto"] = isinstance(param_group["lr"], str) and param_group["lr"] == "auto"
        param_group.update(checked(options, where))
        if not isinstance(param_group["params"], (Tensor, set)):
            param_group["params"] = checked_parameters(param_group["params"], options, where)
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
            RuntimeError: A gradient is sparse and its group is not `lazy`, or a CUDA graph is being captured and a
                group is not `capturable`, or `eval()` was called last. Nothing has been changed then.
        """
        if is_dynamo_compiling():  # a graph cannot hold addresses, nor steps that are counted on the host
            return _step_outside_of_graphs(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            refuse_sparse(group)
            refuse_capture(group)
            refuse_averages(group)
        if self.on_nonfinite != "propagate" and not self._all_finite():
            return loss
        first = 0
        for group in self.param_groups:
            with found_rate(group, self.state):
                step_group(group, first, self.state, self._memory)
            first += len(group["params"])
        return loss

    def _all_finite(self) -> bool:
        """Whether the gradients are; else the step is counted as skipped, or an error."""
        found = first_nonfinite(self.param_groups)
        if found is None:
            return True
        name, parameter = found
        if self.on_nonfinite == "raise":
            state = self.state.get(parameter, {})
            raise not_finite(f"{name}, of shape {tuple(parameter.shape)},", int(state.get("step", 0)) + 1)
        self.skipped_steps += 1
        return False

    def eval(self) -> None:
        """Make the parameters of `schedule_free` groups x, the average, to evaluate, to use and to save the model.

        Of other groups nothing changes, nor in a second call. `state_dict()` says which of the two they are, so that a
        checkpoint may be of either. Statistics of batch normalization are still those at y: go through some data with
        `torch.optim.swa_utils.update_bn(loader, model)` where a model has them.

        Example:
            >>> import torch
            >>> x = torch.nn.Parameter(torch.tensor([3.0]))
            >>> optimizer = Adam([x], lr=0.1, schedule_free=True)
            >>> for _ in range(500):  # minimize x²
            ...     optimizer.zero_grad()
            ...     (x**2).sum().backward()
            ...     optimizer.step()
            >>> optimizer.eval()
            >>> bool(x.abs() < 0.05)
            True
            >>> optimizer.train()  # before the next step
        """
        self._use_averages(True)

    def train(self) -> None:
        """Make the parameters of `schedule_free` groups y again, which is what a step needs; see `eval`."""
        self._use_averages(False)

    def _use_averages(self, on: bool) -> None:
        first = 0
        for group in self.param_groups:
            use_averages(group, first, self.state, on)
            first += len(group["params"])

    def describe(self) -> Description:
        """Which parameters are stepped by which settings, how they and their moments are stored, and in how many bytes.

        Returns:
            A table when printed; its `rows` have the figures. A group goes by its number, or by its `"name"` if it has
            one. The bytes are those of all shards of a `DTensor`, and also of parameters that have made no step yet;
            what `lazy="exact"` keeps of rows, 4 bytes each, is not among them.
        """
        return describe(self.param_groups)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint of this optimizer, or of `torch.optim.Adam`, `AdamW` or `NAdam`.

        The moments are stored as this optimizer stores them, in whatever format and blocks they come. So
        `moment_dtype` and `parameter_rounding` stay, and so do options that the checkpoint lacks; all others are the
        checkpoint's. What `parameter_rounding` keeps beside a parameter is taken over if both optimizers keep it alike.

        Args:
            state_dict: What `state_dict()` returned.

        Raises:
            KeyError: It lacks "state" or "param_groups".
            TypeError: It, or one of its parts, has the wrong type.
            ValueError: It belongs to other parameters, or is not a state of Adam. The optimizer is left as it was in
                every case.

        Warns:
            UserWarning: It is PyTorch's own, and this optimizer `schedule_free`, which has no m: the average begins at
                the parameters, with the v and the count of steps that it brings. Or it has a v for a block where this
                optimizer has several, which begin at that one.
        """
        if not isinstance(state_dict, dict):
            raise TypeError(f"state_dict must be a dict. Received: {type(state_dict).__name__}")
        state_dict = state_dict.copy()
        before, after = load_hooks(self)
        for hook in before:
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups = checked_groups(state_dict, self.param_groups)
        state = loaded_state(state_dict, self.param_groups, groups)
        for group, saved in zip(self.param_groups, groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in after:
            hook(self)


@outside_of_graphs
def _step_outside_of_graphs(optimizer: Adam, closure: Callable[[], Any] | None) -> Any:
    return optimizer.step(closure)
