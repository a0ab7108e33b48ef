"""The hyperparameters that a run has and a sweep varies, each declared once.

Commands and their help, run settings, spaces, programs, sensitivity, charts and the table in the docs read this. One
that is added here reaches them all; what it does to a step stands in `adamkit.keras.Adam` or `training/population.py`.

The help of the commands is made from it, so NumPy, which takes longer to import than to show a help, is imported where
it is needed.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adamkit.lab.errors import InputError, shown
from adamkit.rule import check_flag, check_number

if TYPE_CHECKING:
    import numpy as np

DIGITS = 12  # significant digits of a value between the ends: 0.001 rather than 0.0010000000000000002

BELOW = 2**31  # whole numbers of rows, steps, epochs and seeds: what 32 bits hold

Value = float | int | bool


@dataclass(frozen=True)
class Hyperparameter:
    """What one hyperparameter is, what it accepts, and how it is spaced by habit.

    Args:
        name: As in `adamkit.keras.Adam`, or in the optimizer of Keras's that has it.
        default: Its value where none is given.
        help: What it does, in a sentence.
        symbol: As in the paper; the empty string where it has none.
        kind: `"number"`, `"integer"` or `"flag"`.
        scale: `"log"` or `"linear"`: how a range of it is spaced where it does not say.
        minimum: Smallest value.
        maximum: Largest value.
        below: Values are smaller than this.
        is_decay: A β: its log scale is that of 1 - β.
        of: What has it: `"adam"`, the learning rate's `"schedule"`, the `"training"`, or `"other"`, Keras's optimizers
            that are not Adam. What Adam has and another optimizer too is declared once, as Adam's.
        changes_program: Whether settings that differ in it need compiled programs of their own.
        title: What a chart calls it. Default: its name.
        unit: Of its values; the empty string where it has none.
    """

    name: str
    default: Value
    help: str
    symbol: str = ""
    kind: Literal["number", "integer", "flag"] = "number"
    scale: Literal["log", "linear"] = "linear"
    minimum: float = 0
    maximum: float = math.inf
    below: float = math.inf
    is_decay: bool = False
    of: Literal["adam", "schedule", "training", "other"] = "adam"
    changes_program: bool = False
    title: str = ""
    unit: str = ""

    @property
    def type(self) -> type:
        """Of its values in Python."""
        return {"number": float, "integer": int, "flag": bool}[self.kind]

    @property
    def accepted(self) -> str:
        """What a value must be, in words."""
        if self.kind == "flag":
            return "true or false"
        if self.kind == "integer":
            return f"a whole number >= {self.minimum:g} and < 2³¹"
        if math.isfinite(self.maximum):
            return f"a number from {self.minimum:g} to {self.maximum:g}"
        return f"a finite number >= 0 and < {self.below:g}" if math.isfinite(self.below) else "a finite number >= 0"

    def check(self, value: Any) -> Value:
        """`value` as a Python bool, int or float, if this hyperparameter accepts it; InputError otherwise."""
        import numpy as np

        value = value.item() if isinstance(value, np.generic) else value
        try:
            if self.kind == "flag":
                return check_flag(self.name, value)
            number = check_number(self.name, value, below=self.below)
        except (TypeError, ValueError, OverflowError):  # OverflowError: an int that no float can hold
            raise InputError(f"{self.name} must be {self.accepted}. Received: {self.name}={shown(value)}") from None
        is_whole = number.is_integer() and number < BELOW
        if not self.minimum <= number <= self.maximum or (self.kind == "integer" and not is_whole):
            raise InputError(f"{self.name} must be {self.accepted}. Received: {self.name}={shown(value)}")
        return int(number) if self.kind == "integer" else number

    def position(self, value: Any, scale: str | None = None) -> Any:
        """Where values stand on a scale: log10(x), log10(1 / (1 - β)), or x itself.

        Args:
            value: Numbers, of any shape.
            scale: `"log"` or `"linear"`. Default: the habitual one.

        Returns:
            float64, of the same shape; it grows with the value. -inf for 0 on a log scale.
        """
        import numpy as np

        value = np.asarray(value, dtype=np.float64)
        if (scale or self.scale) == "linear":
            return value
        with np.errstate(divide="ignore"):
            return -np.log10(1 - value) if self.is_decay else np.log10(value)

    def at(self, position: Any, scale: str | None = None) -> Any:
        """The values at such positions, to 12 significant digits (of 1 - β for a β): the inverse of `position`."""
        import numpy as np

        position = np.asarray(position, dtype=np.float64)
        if (scale or self.scale) == "linear":
            return _rounded(position)
        return 1 - _rounded(10.0**-position) if self.is_decay else _rounded(10.0**position)


HYPERPARAMETERS = {
    known.name: known
    for known in (
        Hyperparameter(
            "learning_rate", 0.001, "The size of a step.", "η", scale="log", of="schedule", title="learning rate"
        ),
        Hyperparameter(
            "beta_1", 0.9, "Decay of the mean of the gradients.", "β₁", scale="log", below=1, is_decay=True
        ),
        Hyperparameter(
            "beta_2", 0.999, "Decay of the mean of their squares.", "β₂", scale="log", below=1, is_decay=True
        ),
        Hyperparameter("epsilon", 1e-7, "Added to the root of the second moment.", "ε", scale="log"),
        Hyperparameter(
            "weight_decay", 0.0, "Decoupled weight decay, as in AdamW.", "λ", scale="log", title="weight decay"
        ),
        Hyperparameter(
            "warmup_steps", 0, "Steps over which the learning rate rises from 0.",
            kind="integer", of="schedule", title="warm-up", unit="steps",
        ),
        Hyperparameter(
            "cosine_alpha", 1.0,
            "The share of it that the learning rate falls to by the last step, along a cosine; 1 for no fall.",
            maximum=1, of="schedule",
        ),
        Hyperparameter("amsgrad", False, "The AMSGrad variant.", kind="flag", changes_program=True),
        Hyperparameter(
            "bias_correction", True, "Bias correction of both moments.",
            kind="flag", changes_program=True, title="bias correction",
        ),
        Hyperparameter(
            "adaptivity", True, "The division by the root of the second moment; without it, momentum alone.",
            kind="flag", changes_program=True,
        ),
        Hyperparameter(
            "momentum", 0.0, "Decay of the sum of steps, of SGD and RMSprop.", "μ",
            scale="log", below=1, is_decay=True, of="other",
        ),
        Hyperparameter(
            "rho", 0.9, "Decay of the mean of the gradients' squares, of RMSprop and Adadelta.", "ρ",
            scale="log", below=1, is_decay=True, of="other",
        ),
        Hyperparameter(
            "ema_momentum", 0.99, "Decay of the mean of the weights, with use_ema.",
            scale="log", below=1, is_decay=True, of="other", title="decay of the weights' mean",
        ),
        Hyperparameter("nesterov", False, "Nesterov's momentum.", kind="flag", of="other", changes_program=True),
        Hyperparameter(
            "centered", False, "RMSprop divides by the variance, not the second moment.",
            kind="flag", of="other", changes_program=True,
        ),
        Hyperparameter(
            "batch_size", 32, "Rows a step.",
            kind="integer", minimum=1, of="training", changes_program=True, title="batch size",
            unit="examples",
        ),
    )
}  # fmt: skip


def names(*, of: str | None = None, changes_program: bool | None = None) -> tuple[str, ...]:
    """The names of those that something has, or that do or do not change the program."""
    return tuple(
        known.name
        for known in HYPERPARAMETERS.values()
        if of in (None, known.of) and changes_program in (None, known.changes_program)
    )


def _rounded(values: "np.ndarray") -> "np.ndarray":
    """Values to 12 significant digits, as their decimal text reads."""
    import numpy as np

    return np.array([float(f"{x:.{DIGITS}g}") for x in np.ravel(values)]).reshape(np.shape(values))
