"""Adam's state in Keras as NumPy arrays, and from them: what `adamkit.convert` reads and gives."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit import carried as states
from adamkit import rounding
from adamkit.carried import Carried, Moment, Parameter
from adamkit.keras.adam import Adam
from adamkit.keras.internals import step_count_of, trained_by, without_scaler
from adamkit.keras.state import MOMENT_NAMES, Slot, slots

_NAMES: dict[str, str] = dict(zip(MOMENT_NAMES, states.MOMENTS, strict=True))


def has(state: Any) -> bool:
    """Whether it is an optimizer with Adam's state."""
    return isinstance(without_scaler(state), (keras.optimizers.Adam, keras.optimizers.Nadam))


def carried(optimizer: Any) -> Carried:
    """The state of a built optimizer, Keras's Adam or Nadam or ours."""
    optimizer = _built(optimizer, "state")
    return Carried(int(_array(optimizer.iterations)), _parameters(optimizer))


def converted(state: Carried, like: Any, names: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """What `load_own_variables` of the optimizer `like` takes."""
    if not isinstance(without_scaler(like), Adam):
        raise TypeError(f"like must be an adamkit.keras.Adam. Received: {type(like).__module__}.{type(like).__name__}")
    optimizer = _built(like, "like")
    found = states.matched(state, _parameters(optimizer), names)
    states.check_amsgrad(found, amsgrad=optimizer.amsgrad)
    own, arrays = slots(optimizer), [_array(variable) for variable in optimizer.variables]
    places = {id(variable): place for place, variable in enumerate(optimizer.variables)}
    general = arrays[: places[id(own[0].values)]]
    count = places[id(step_count_of(optimizer))]
    general[count] = np.asarray(found.step * (optimizer.gradient_accumulation_steps or 1), general[count].dtype)
    parameters = {name: iter(found.parameters) for name in MOMENT_NAMES}
    moments = [next(parameters[slot.name]).moments[_NAMES[slot.name]] for slot in own]
    values = [moment.values for moment in moments]
    scales = [moment.scales for moment in moments if moment.scales is not None]
    remainders = [
        states.remainder_of(parameter, _array(variable), optimizer.parameter_rounding)
        for variable, parameter in zip(trained_by(optimizer), found.parameters, strict=True)
        if keras.backend.standardize_dtype(variable.dtype) in rounding.NARROW
    ]
    kept = [one for one in remainders if one is not None]
    kept = kept if len(kept) == len(remainders) else []
    return {str(place): array for place, array in enumerate([*general, *values, *scales, *kept])}


def _parameters(optimizer: Any) -> list[Parameter]:
    of_name: dict[str, list[Slot]] = {name: [] for name in MOMENT_NAMES}
    for slot in slots(optimizer):
        of_name[slot.name].append(slot)
    variables = trained_by(optimizer)
    if any(len(kept) not in (0, len(variables)) for kept in of_name.values()):
        raise ValueError("every variable must have moments, and one that steps do not train has none")
    remainders = getattr(optimizer, "_remainders", [None] * len(variables))
    made = []
    for i, variable in enumerate(variables):
        moments = {_NAMES[name]: _moment(kept[i]) for name, kept in of_name.items() if kept}
        missed = optimizer.missed_steps(variable) if getattr(optimizer, "lazy", False) else None
        if missed is not None:
            betas = {"first": optimizer.beta_1, "second": optimizer.beta_2}
            moments |= {name: states.faded(moments[name], _array(missed), beta) for name, beta in betas.items()}
        exact = None
        if remainders[i] is not None:
            exact = rounding.restore(_array(variable), _array(remainders[i]), np)
        made.append(Parameter(variable.path, tuple(variable.shape), moments, exact))
    return made


def _moment(slot: Slot) -> Moment:
    if slot.scales is not None:
        return Moment(_array(slot.values), _array(slot.scales).reshape(-1))
    return Moment(states.widened(_array(slot.values)))


def _built(optimizer: Any, name: str) -> Any:
    optimizer = without_scaler(optimizer)
    if not optimizer.built:
        raise ValueError(f"{name} must be built on its variables: {name}.build(model.trainable_variables)")
    schedule_free, auto = (getattr(optimizer, name, False) for name in ("schedule_free", "finds_rate"))
    states.refuse_further_state(name, schedule_free=schedule_free, auto=auto)
    return optimizer


def _array(variable: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable.value if hasattr(variable, "value") else variable))
