"""Adam's state in PyTorch as NumPy arrays, and from them: what `adamkit.convert` reads and gives."""

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from adamkit import carried as states
from adamkit import rounding
from adamkit.carried import Carried, Moment, Parameter
from adamkit.torch.adam import Adam
from adamkit.torch.state import LAST_STEP, MOMENTS


def has(state: Any) -> bool:
    """Whether it is an optimizer with Adam's state."""
    return isinstance(state, (Adam, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam))


def carried(optimizer: Any) -> Carried:
    """The state of an optimizer, PyTorch's Adam, AdamW or NAdam or ours."""
    named = list(_named(optimizer, "state"))
    steps = [int(optimizer.state[tensor]["step"]) if optimizer.state.get(tensor) else 0 for _, tensor, _ in named]
    step = max(steps, default=0)
    for (name, _, _), own in zip(named, steps, strict=True):
        if own != step:
            raise ValueError(
                "the parameters must have taken the same number of steps, since Keras and optax count one for all. "
                f"Received: {own} of {name}, {step} of another. Those that no gradient reaches are best left out of "
                "the optimizer"
            )
    return Carried(step, [_parameter(name, tensor, optimizer, group) for name, tensor, group in named])


def converted(state: Carried, like: Any, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `load_state_dict` of the optimizer `like` takes."""
    if not isinstance(like, Adam):
        raise TypeError(f"like must be an adamkit.torch.Adam. Received: {type(like).__module__}.{type(like).__name__}")
    named = list(_named(like, "like"))
    found = states.matched(state, [Parameter(name, tuple(tensor.shape), {}) for name, tensor, _ in named], names)
    of_parameter = {}
    for place, (parameter, (_, tensor, group)) in enumerate(zip(found.parameters, named, strict=True)):
        states.check_amsgrad(Carried(found.step, [parameter]), amsgrad=group["amsgrad"])
        entry: dict[str, Any] = {"step": torch.tensor(float(found.step))}
        for name, moment in parameter.moments.items():
            entry[MOMENTS[name]] = torch.from_numpy(np.array(moment.values))
            if moment.scales is not None:
                entry[f"{MOMENTS[name]}_scale"] = torch.from_numpy(np.array(moment.scales))
        if str(tensor.dtype).removeprefix("torch.") in rounding.NARROW:
            remainder = states.remainder_of(parameter, _array(tensor), group["parameter_rounding"])
            entry |= {} if remainder is None else {"remainder": torch.from_numpy(np.array(remainder))}
        of_parameter[place] = entry
    return {**like.state_dict(), "state": of_parameter if found.step else {}}


def _named(optimizer: Any, argument: str) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    """Each parameter with its name, or its number, and its group, in the order of `state_dict`."""
    place = 0
    for group in optimizer.param_groups:
        schedule_free, auto = group.get("schedule_free", False), group.get("auto", False)
        states.refuse_further_state(argument, schedule_free=schedule_free, auto=auto)
        for i, parameter in enumerate(group["params"]):
            if parameter.is_complex():
                raise ValueError(f"parameters must be real. Received: parameter {place} of {parameter.dtype}")
            yield group["param_names"][i] if "param_names" in group else str(place), parameter, group
            place += 1


def _parameter(name: str, tensor: Tensor, optimizer: Any, group: dict[str, Any]) -> Parameter:
    state = optimizer.state.get(tensor, {})
    kept = {ours: _moment(state, theirs) for ours, theirs in MOMENTS.items() if theirs in state}
    if LAST_STEP in state:
        missed = int(state["step"]) - _array(state[LAST_STEP])
        kept |= {one: states.faded(kept[one], missed, beta) for one, beta in zip(MOMENTS, group["betas"], strict=False)}
    if not state:
        amsgrad = group.get("amsgrad", False)
        zeros = np.zeros(tensor.shape, np.float64 if tensor.dtype == torch.float64 else np.float32)
        kept = {ours: Moment(zeros) for ours in states.MOMENTS[: 3 if amsgrad else 2]}
    exact = None
    if "remainder" in state:
        exact = rounding.restore(_array(tensor), _array(state["remainder"]), np)
    return Parameter(name, tuple(tensor.shape), kept, exact)


def _moment(state: Mapping[str, Tensor], name: str) -> Moment:
    if f"{name}_scale" in state:
        return Moment(_array(state[name]), _array(state[f"{name}_scale"]))
    return Moment(states.widened(_array(state[name])))


def _array(tensor: Tensor) -> np.ndarray:
    """A copy: JAX may keep the memory that it is given, into which PyTorch's next step would write."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:  # which NumPy itself does not have
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()
