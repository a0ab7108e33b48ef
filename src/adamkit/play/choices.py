"""What a reader of the page can choose, and one such choice, checked.

Sliders are made from `adamkit.lab.hyperparameters`: one that is declared there has a slider here.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adamkit import moments
from adamkit.lab.comparing.optimizers import OPTIMIZERS
from adamkit.lab.errors import InputError, listed, nearest
from adamkit.lab.hyperparameters import HYPERPARAMETERS, Hyperparameter, Value

ADAM = "adam"
# Adam with λ is AdamW, and AMSGrad is a switch of it.
NAMES = (ADAM, *(name for name, known in OPTIMIZERS.items() if known.kind != "Adam"))
_ENDS = {"learning_rate": (1e-6, 10.0), "epsilon": (1e-12, 1.0), "weight_decay": (1e-6, 1.0)}
_STOPS_A_DECADE = 20
_MOMENTUM = 0.9  # of optimizers that are named after it; Keras's default is 0, which is another optimizer


@dataclass(frozen=True)
class Choice:
    """One setting of everything: what a run of the page is made from.

    Attributes:
        optimizer: One of `NAMES`.
        moment_dtype: As in `adamkit.keras.Adam`; "float32" for all others.
        epochs: How often to go through the data.
        rows: Of the data, the first ones.
        values: Hyperparameters by name, all that the optimizer, its schedule and the training have.
    """

    optimizer: str
    moment_dtype: str
    epochs: int
    rows: int
    values: tuple[tuple[str, Value], ...]

    @property
    def setting(self) -> dict[str, Value]:
        """The values by name."""
        return dict(self.values)

    @property
    def batch_size(self) -> int:
        """Rows a step."""
        return int(self.setting["batch_size"])

    @property
    def program(self) -> tuple:
        """Choices for which this is the same are trained by one compiled program, whatever their number of epochs.

        Keras's own optimizers have other code for a number that is 0.
        """
        setting = self.setting
        flags = tuple((name, value) for name, value in self.values if HYPERPARAMETERS[name].changes_program)
        own = [name for name in setting if HYPERPARAMETERS[name].of not in ("schedule", "training")]
        zeros = () if self.optimizer == ADAM else tuple(setting[name] == 0 for name in own)
        return (self.optimizer, self.moment_dtype, self.rows, flags, zeros)

    def with_values(self, values: Mapping[str, Value]) -> "Choice":
        """This, with other values."""
        return Choice(
            self.optimizer, self.moment_dtype, self.epochs, self.rows, tuple((self.setting | dict(values)).items())
        )

    def as_json(self) -> dict[str, Any]:
        """As the page has it."""
        return asdict(self) | {"values": self.setting}


def of_optimizer(name: str) -> tuple[str, ...]:
    """The hyperparameters that runs with this optimizer have, in the order of their declaration."""
    if name == ADAM:
        return tuple(known.name for known in HYPERPARAMETERS.values() if known.of != "other")
    own = OPTIMIZERS[name].space
    return tuple(
        known.name for known in HYPERPARAMETERS.values() if known.of in ("schedule", "training") or known.name in own
    )


def defaults(name: str) -> dict[str, Value]:
    """Adam's as they are declared; of another optimizer Keras's own."""
    import keras

    known = {each: HYPERPARAMETERS[each].default for each in of_optimizer(name)}
    if name == ADAM:
        return known
    signature = inspect.signature(getattr(keras.optimizers, OPTIMIZERS[name].kind)).parameters
    for each in known:
        if each in signature and isinstance(signature[each].default, (int, float)):
            known[each] = _MOMENTUM if each == "momentum" else signature[each].default
    return known


def stops(known: Hyperparameter, total_steps: int, rows: int, among: Sequence[Value] = ()) -> list[Value]:
    """The values at which a slider stops, from the smallest.

    Args:
        known: The hyperparameter.
        total_steps: Of a run: what a warm-up is measured by.
        rows: Of the data, which a batch is not larger than.
        among: Values that must be among them.
    """
    if known.kind == "flag":
        return [False, True]
    if known.name == "batch_size":
        found: list[Value] = [2**k for k in range(3, 11) if 2**k <= rows]
    elif known.kind == "integer":
        found = sorted({round(total_steps / 2 * k / 40) for k in range(41)})
    elif known.is_decay:
        top = max(4.0, float(known.position(known.default)) + 2)
        left = 10.0 ** -np.linspace(0, top, round(top * _STOPS_A_DECADE) + 1)
        found = [float(f"{1 - float(f'{x:.3g}'):.12g}") for x in left]
    elif known.scale == "log":
        low, high = (math.log10(end) for end in _ENDS.get(known.name, (1e-6, 1.0)))
        places = np.linspace(low, high, round((high - low) * _STOPS_A_DECADE) + 1)
        found = [0.0] * (known.default == 0) + [float(f"{10.0**place:.3g}") for place in places]
    else:
        found = [round(k / 20 * known.maximum, 12) for k in range(21)] if math.isfinite(known.maximum) else []
    return sorted({*found, *among})


def checked(record: Any, defaults: Mapping[str, Choice]) -> Choice:
    """A choice as the page has sent it.

    Args:
        record: As `Choice.as_json`.
        defaults: The choice that each optimizer begins with; what it does not name has those values.

    Raises:
        InputError: Something in it is unknown or out of range; in the words of the command line.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get("values", {}), Mapping):
        raise InputError(f"a choice must be a mapping with optimizer and values. Received: {type(record).__name__}")
    name = record.get("optimizer", ADAM)
    if name not in defaults:
        raise InputError(f"optimizer must be one of {listed(defaults)}. Received: optimizer={name!r}")
    begun = defaults[name]
    values = begun.setting
    for each, value in record.get("values", {}).items():
        if each not in values:
            hint = nearest(str(each), values)
            raise InputError(f"a hyperparameter of {name} must be one of {listed(values)}. Received: {each!r}.{hint}")
        values[each] = HYPERPARAMETERS[each].check(value)
    counts = {}
    for each in ("epochs", "rows"):
        most, value = getattr(begun, each), record.get(each, getattr(begun, each))
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise InputError(f"{each} must be a whole number from 1 to {most}. Received: {each}={value!r}")
        counts[each] = value
    stored = record.get("moment_dtype", begun.moment_dtype)
    try:
        moments.check_format("moment_dtype", stored)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None
    if name != ADAM and stored != "float32":
        raise InputError(f"moment_dtype must be float32 with {name}. Received: moment_dtype={stored!r}")
    return Choice(name, stored, counts["epochs"], counts["rows"], tuple(values.items()))
