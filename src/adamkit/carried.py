"""Adam's state between two frameworks: as NumPy arrays, by the names and in the order of the parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamkit import moments, rounding, rule

MOMENTS = ("first", "second", "largest")


@dataclass(frozen=True)
class Moment:
    """One moment of one parameter.

    Attributes:
        values: (…,) float32 or float64, or uint8 codes; with `blockwise` 1 for the axes along which elements share v.
        scales: (blocks,) uint8 of codes, else None.
    """

    values: NDArray
    scales: NDArray | None = None

    def numbers(self, name: str) -> NDArray:
        """(…,) float32 or float64: what the codes stand for. `name` is one of `MOMENTS`."""
        if self.scales is None:
            return self.values
        decode = moments.decode_first if name == "first" else moments.decode_second
        return decode(self.values, self.scales, np)


@dataclass(frozen=True)
class Parameter:
    """What there is of one parameter.

    Attributes:
        name: In its framework.
        shape: Of the parameter.
        moments: By their names; that of "largest" is there with AMSGrad. Empty where nothing is looked for: in a
            parameter that state is to be found for.
        exact: (…,) float32 that a narrow parameter stands for with what rounding kept beside it; None: nothing is kept.
    """

    name: str
    shape: tuple[int, ...]
    moments: Mapping[str, Moment]
    exact: NDArray | None = None

    def transposed(self, axes: Sequence[int]) -> "Parameter":
        """With its axes in another order, as `numpy.transpose` takes it."""
        turned = {name: Moment(np.transpose(moment.numbers(name), axes)) for name, moment in self.moments.items()}
        shape = tuple(self.shape[axis] for axis in axes)
        return replace(
            self, shape=shape, moments=turned, exact=None if self.exact is None else np.transpose(self.exact, axes)
        )


@dataclass(frozen=True)
class Carried:
    """Adam's state.

    Attributes:
        step: Steps done, t.
        parameters: In the order of their framework.
    """

    step: int
    parameters: list[Parameter]


def faded(moment: Moment, missed: Any, beta: Any) -> Moment:
    """What dense Adam has of m or v that `lazy="exact"` has left alone for so many steps, (rows,)."""
    missed = np.asarray(missed).astype(moment.values.dtype)
    rows = missed.reshape(missed.shape + (1,) * (moment.values.ndim - missed.ndim))
    return Moment(rule.faded(moment.values, rows, rule.Decay.of(float(beta)), np))


def matched(carried: Carried, targets: list[Parameter], names: Mapping[str, Any] | None) -> Carried:
    """The state in the order and the shapes of other parameters; see `adamkit.convert`.

    Args:
        carried: The state.
        targets: What to find the state of: names and shapes count.
        names: For the name of each target that of its parameter in `carried`, or a pair of it and the order of its
            axes; None: found by shape and order.

    Raises:
        TypeError: `names` is no such table.
        ValueError: Something does not fit; the message names it.
    """
    pairs = _by_shape(carried.parameters, targets) if names is None else _by_name(carried.parameters, targets, names)
    for source, target in pairs:
        if source.shape != target.shape:
            raise ValueError(
                f"{target.name} must have the shape of {source.name}, {source.shape}. Received: {target.shape}. Where "
                f"the order of the axes differs, names={{{target.name!r}: ({source.name!r}, axes)}} gives it"
            )
    return replace(carried, parameters=[replace(source, name=target.name) for source, target in pairs])


def check_amsgrad(carried: Carried, *, amsgrad: bool) -> None:
    """ValueError where the state is of AMSGrad and what it is to go into is not, or the other way round."""
    for parameter in carried.parameters:
        if ("largest" in parameter.moments) != amsgrad:
            has, other = ("no", "amsgrad=True") if amsgrad else ("a", "amsgrad=False")
            raise ValueError(
                f"amsgrad must be the same on both sides: the state of {parameter.name} has {has} largest second "
                f"moment, and like is of {other}"
            )


def refuse_further_state(name: str, *, schedule_free: bool, auto: bool) -> None:
    """ValueError where an optimizer averages or finds its learning rate: each framework keeps that in another way."""
    if schedule_free:
        raise ValueError(f"{name} must be of schedule_free=False. Received: one of schedule_free=True")
    if auto:
        raise ValueError(f"{name} must have a learning rate of its own. Received: one whose learning rate is 'auto'")


def remainder_of(parameter: Parameter, value: NDArray, parameter_rounding: str) -> NDArray | None:
    """What `parameter_rounding` keeps beside a narrow parameter, whose value there is `value`; None for nothing.

    Raises:
        ValueError: The value is not that of the state.
    """
    if rounding.remainder_dtype(value.dtype.name, parameter_rounding) is None or parameter.exact is None:
        return None
    codes = [array.view(np.int16).astype(np.int32) for array in (value, parameter.exact.astype(value.dtype))]
    if np.abs(codes[0] - codes[1]).max(initial=0) > 1:  # 1: the two may round a number half-way in other ways
        raise ValueError(
            f"{parameter.name} of like must have the values that the state belongs to, and has others: move the "
            "weights first"
        )
    return rounding.remainder_of(parameter.exact, value, parameter_rounding)


def widened(moment: NDArray) -> NDArray:
    """Numbers of any width as float32, or float64 as they are."""
    return moment if moment.dtype == np.float64 else moment.astype(np.float32)


def _by_shape(sources: list[Parameter], targets: list[Parameter]) -> list[tuple[Parameter, Parameter]]:
    """The whole order where that fits, or each parameter's place where its shape alone tells it."""
    ours, theirs = [one.shape for one in sources], [one.shape for one in targets]
    if ours == theirs:
        return list(zip(sources, targets, strict=True))
    if sorted(ours) == sorted(theirs) and len(set(ours)) == len(ours):
        of_shape = {one.shape: one for one in sources}
        return [(of_shape[target.shape], target) for target in targets]
    if sorted(ours) == sorted(theirs):
        why = "have the same shapes in another order, some of them more than once"
    else:
        more = [f"there is no state for {one.name} {one.shape}" for one in targets if one.shape not in ours]
        less = [f"no parameter for the state of {one.name} {one.shape}" for one in sources if one.shape not in theirs]
        why = "differ" + ": ".join(["", *(more + less)[:1]])
    raise ValueError(
        f"the parameters {why}; names must say which is which. Of the state: {_listed(sources)}. Of like: "
        f"{_listed(targets)}"
    )


def _by_name(
    sources: list[Parameter], targets: list[Parameter], names: Mapping[str, Any]
) -> list[tuple[Parameter, Parameter]]:
    if not isinstance(names, Mapping):
        raise TypeError(f"names must be a dict from names of like to names of the state. Received: {names!r}")
    by_name = {one.name: one for one in sources}
    if len(by_name) < len(sources):
        raise ValueError(f"the parameters of the state must have names of their own: {_listed(sources)}")
    if further := names.keys() - {one.name for one in targets}:
        raise ValueError(
            f"names must have the parameters of like: {_listed(targets)}. Received: {sorted(further)[0]!r}"
        )
    pairs, used = [], set()
    for target in targets:
        if target.name not in names:
            raise ValueError(f"names must have every parameter of like, and lacks {target.name!r}")
        given = names[target.name]
        name, axes = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        if name not in by_name:
            raise ValueError(
                f"names[{target.name!r}] must be a parameter of the state: {_listed(sources)}. Received: {name!r}"
            )
        if name in used:
            raise ValueError(f"names must give each parameter of the state once. Received twice: {name!r}")
        used.add(name)
        source = by_name[name]
        if axes is not None:
            if sorted(axes) != list(range(len(source.shape))):
                raise ValueError(
                    f"the axes of {name!r} must be the numbers 0 to {len(source.shape) - 1} in some order. Received: "
                    f"{axes!r}"
                )
            source = source.transposed(axes)
        pairs.append((source, target))
    if left := by_name.keys() - used:
        raise ValueError(f"names must give every parameter of the state, and lacks {sorted(left)[0]!r}")
    return pairs


def _listed(parameters: list[Parameter]) -> str:
    return ", ".join(f"{one.name} {one.shape}" for one in parameters)
