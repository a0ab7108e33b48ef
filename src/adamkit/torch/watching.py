"""Hooks that look at the state of Adam now and then, and warn of what commonly goes wrong."""

import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from adamkit import findings, rounding
from adamkit.findings import Finding, Look
from adamkit.torch.adam import Adam
from adamkit.torch.state import decoded


class Watching:
    """What `watch` gives: the findings so far, and the way to end it.

    Attributes:
        found: The findings: `kind`, `where`, `figure`, `says`, `remedy`.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, names: dict[int, str], behind_relu: set[int], every: int, warn: bool
    ):
        self._optimizer, self._names, self._every, self._warn = optimizer, names, every, warn
        self._behind_relu = behind_relu
        self._collected, self._calls, self._before = findings.Collected(), 0, None
        self._hooks = (
            optimizer.register_step_pre_hook(lambda *_: self._begin()),
            optimizer.register_step_post_hook(lambda *_: self._end()),
        )

    @property
    def found(self) -> list[Finding]:
        """Those of the looks so far."""
        return self._collected.findings()

    def losses(self, values: Iterable[float]) -> list[Finding]:
        """What the losses of the epochs show, for those who have them."""
        beta_2 = float(self._optimizer.param_groups[0]["betas"][1])
        return findings.of_run(list(values), self._calls, beta_2)

    def stop(self) -> None:
        """Look no more."""
        for hook in self._hooks:
            hook.remove()

    def _begin(self) -> None:
        self._calls += 1
        self._before = self._state() if self._calls == 2 or self._calls % self._every == 0 else None

    def _end(self) -> None:
        if self._before is None:
            return
        looks = [
            look(self._names[number], before, after, units=0 if number in self._behind_relu else None)
            for number, after in self._state().items()
            if (before := self._before.get(number)) is not None
        ]
        self._before = None
        for finding in self._collected.add(looks):
            if self._warn:
                warnings.warn(str(finding), RuntimeWarning, stacklevel=2)

    def _state(self) -> dict[int, dict[str, Any]]:
        found = {}
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                state = self._optimizer.state.get(parameter, {})
                if parameter.is_complex():
                    continue
                if not state:  # never stepped: it has no gradient
                    zeros = np.zeros(tuple(parameter.shape))
                    moments = (zeros, zeros)
                else:
                    moments = tuple(_moment(state, name) for name in ("exp_avg", "exp_avg_sq"))
                found[id(parameter)] = {
                    "theta": _float64(parameter), "moments": moments, "step": int(state.get("step", 0)),
                    "group": group, "dtype": str(parameter.dtype).removeprefix("torch."),
                }  # fmt: skip
        return found


def look(name: str, before: dict[str, Any], after: dict[str, Any], units: int | None = None) -> Look:
    """What a step did to one parameter, from the state around it."""
    group = after["group"]
    beta_1, beta_2 = map(float, group["betas"])
    narrow = after["dtype"] in rounding.NARROW
    return Look(
        name, before["theta"], after["theta"], before["moments"][0], *after["moments"],
        step=max(after["step"], 1), beta_1=beta_1, beta_2=beta_2, epsilon=float(group["eps"]),
        loses=narrow and group.get("parameter_rounding", "nearest") == "nearest", units=units,
    )  # fmt: skip


def watch(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module | None = None, *, every: int = 100, warn: bool = True
) -> Watching:
    """Look at Adam's state around the second step and every so many further ones, and warn of what goes wrong.

    Updates that round away, an ε that dominates √v̂, a v that underflowed, steps of a wrong size, parameters without a
    gradient; `losses` tells of a β₂ too long for the run and of losses that rise, stand still or are still falling.

    Args:
        optimizer: An `adamkit.torch.Adam`, `torch.optim.Adam` or `AdamW`.
        model: For the names of its parameters, which are numbered without, and for dead ReLUs, where one follows a
            layer in a `torch.nn.Sequential`.
        every: Steps between two looks, >= 1, each of which copies the state. Defaults to 100.
        warn: Whether to warn, with a RuntimeWarning, when something is first seen. Defaults to True.

    Raises:
        TypeError: `optimizer` is another optimizer.
        ValueError: `every` is out of range.

    Example:
        >>> import torch
        >>> from adamkit.torch import Adam, watch
        >>> x = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = Adam([x], lr=10.0)
        >>> watching = watch(optimizer, warn=False)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     (x**2).sum().backward()
        ...     optimizer.step()
        >>> [finding.kind for finding in watching.found]
        ['large-steps']
    """
    if not isinstance(optimizer, (Adam, torch.optim.Adam, torch.optim.AdamW)):
        raise TypeError(f"optimizer must be an Adam. Received: {type(optimizer).__name__}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a whole number >= 1. Received: every={every!r}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = {id(parameter): f"params[{number}]" for number, parameter in enumerate(parameters)}
    names |= {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
    return Watching(optimizer, names, _behind_relu(model), every, warn)


def _behind_relu(model: torch.nn.Module | None) -> set[int]:
    """The weights whose first axis is that of units that a ReLU follows, by `id`."""
    found = set()
    for part in () if model is None else model.modules():
        layers = list(part) if isinstance(part, torch.nn.Sequential) else []
        for layer, after in itertools.pairwise(layers):
            if isinstance(after, torch.nn.ReLU) and isinstance(getattr(layer, "weight", None), torch.nn.Parameter):
                found.add(id(layer.weight))
    return found


def _moment(state: dict[str, Any], name: str) -> np.ndarray:
    place = "first" if name == "exp_avg" else "second"
    moment = _float64(decoded(state[name], state.get(f"{name}_scale"), place, torch.float32))
    return np.broadcast_to(moment, state["exp_avg"].shape)  # of a block for each of its elements


def _float64(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
