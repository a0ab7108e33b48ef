"""The optimizers that are compared, each with the space that its settings are drawn from, and why that space.

All learning rates span three decades, placed where the optimizer lives; where that was wrong, `compare` widens the
space and says so. ε is drawn relative to the learning rate where it matters, because for a large ε a step is
η/ε times the mean gradient: so a large ε needs a large η, and independent draws of both would waste most settings
(Choi et al. 2019, arXiv:1910.05446, section 4 and appendix B).

A switch behind a name (`adam+ema`, `sgd+cosine`) makes another optimizer of it, which is tuned by itself.
"""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adamkit.lab.errors import InputError, listed, nearest
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.sweeping import spaces
from adamkit.lab.sweeping.spaces import Range

DECADES = 3  # that every learning rate spans at first
_MOMENTUM = Range(0.5, 0.99)  # of β₁ and μ: a mean over 2 to 100 gradients
_SECOND = Range(0.9, 0.9999)  # of β₂ and ρ: over 10 to 10,000
_RELATIVE = Range(1e-6, 1e-1)  # of ε to η
# Where a class leaves out what the name stands for: a momentum as papers have it, λ as `keras.optimizers.AdamW`.
_USUAL = {"momentum": 0.9, "weight_decay": 0.004}


@dataclass(frozen=True)
class Optimizer:
    """An optimizer to compare.

    Attributes:
        name: What it is called.
        kind: Its class: `"Adam"` is adamkit's, all else is Keras's by name.
        space: What each of its hyperparameters may be.
        fixed: Other arguments of its class.
        relative: Hyperparameters whose range is that of a factor: the value is (factor · learning rate) to this power.
        why: Where the space is from, in a sentence.
        cosine: Whether the learning rate falls to 0 along a cosine.
    """

    name: str
    kind: str
    space: Mapping[str, Range]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    relative: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    cosine: bool = False

    def make(self) -> Any:
        """A new optimizer of Keras's, or adamkit's Adam, in the middle of its space."""
        middle = self.at(spaces.draw(dict(self.space), 1, seed=0)[0])
        return self._class()(**{k: v for k, v in middle.items() if k != "cosine_alpha"}, **self.fixed)

    def untuned(self) -> spaces.Setting:
        """The setting of somebody who gives no number: the defaults of its class."""
        defaults = inspect.signature(self._class()).parameters
        setting = {}
        for name in self.space:
            default = defaults[name].default if name in defaults else HYPERPARAMETERS[name].default
            setting[name] = default or _USUAL.get(name, HYPERPARAMETERS[name].default)
        return setting | ({"cosine_alpha": 0.0} if self.cosine else {})

    def draw(self, n: int, seed: int) -> tuple[list[spaces.Setting], list[spaces.Setting]]:
        """Settings from a scrambled Sobol sequence over the space.

        Returns:
            The places in the space, of which `widened` looks whether they lie on its border, and the settings there.
        """
        places = spaces.draw(dict(self.space), n, seed=seed)
        return places, [self.at(place) for place in places]

    def at(self, place: spaces.Setting) -> spaces.Setting:
        """The setting at a place in the space."""
        setting = dict(place)
        for name, power in self.relative.items():
            setting[name] = float((place[name] * place["learning_rate"]) ** power)
        return setting | ({"cosine_alpha": 0.0} if self.cosine else {})

    def space_in_words(self) -> dict[str, str]:
        """The range of each hyperparameter, as text."""
        words = {}
        for name, values in self.space.items():
            factor = "" if name not in self.relative else " η" if self.relative[name] == 1 else " η, squared"
            words[name] = f"{values.low:.4g} to {values.high:.4g}{factor}"
        return words

    def _class(self) -> Any:
        import keras

        from adamkit.keras import Adam

        return Adam if self.kind == "Adam" else getattr(keras.optimizers, self.kind)


def _rates(low: float) -> Range:
    return Range(low, low * 10**DECADES)


_ADAM = {"learning_rate": _rates(1e-4), "beta_1": _MOMENTUM, "beta_2": _SECOND, "epsilon": _RELATIVE}
_ADAMS = "η around Keras's 0.001; β₁, β₂ and ε/η as wide as papers use them (Choi et al. 2019, appendix D)"
_WEIGHT_DECAY = Range(1e-4, 1e-1)

OPTIMIZERS = {
    known.name: known
    for known in (
        Optimizer("adam", "Adam", _ADAM, relative={"epsilon": 1}, why=_ADAMS),
        Optimizer(
            "adamw", "Adam", _ADAM | {"weight_decay": _WEIGHT_DECAY}, relative={"epsilon": 1},
            why=f"{_ADAMS}; λ as the paper's figures, for η = 0.001 and up (Loshchilov and Hutter 2019, figure 2)",
        ),
        Optimizer("amsgrad", "Adam", _ADAM, {"amsgrad": True}, {"epsilon": 1}, "as Adam's"),
        Optimizer("nadam", "Nadam", _ADAM, relative={"epsilon": 1}, why="as Adam's"),
        Optimizer("radam", "Adam", _ADAM, {"rectified": True}, {"epsilon": 1}, "as Adam's"),
        Optimizer("cautious", "Adam", _ADAM, {"cautious": True}, {"epsilon": 1}, "as Adam's"),
        Optimizer(
            "blockwise", "Adam", _ADAM, {"blockwise": True}, {"epsilon": 1},
            "as Adam's, whose settings its authors keep (Adam-mini, Zhang et al. 2024)",
        ),
        Optimizer(
            "adopt", "Adam", _ADAM, {"adopt": True}, {"epsilon": 1},
            "as Adam's; its authors' ε/η is in it (Taniguchi et al. 2024, section 5)",
        ),
        Optimizer(
            "schedule-free", "Adam", _ADAM | {"learning_rate": _rates(2.5e-4)}, {"schedule_free": True}, {"epsilon": 1},
            "as Adam's, with η 2.5 times as large, as its authors' default is (Defazio et al. 2024)",
        ),
        Optimizer(
            "auto", "Adam", {"beta_1": _MOMENTUM, "beta_2": _SECOND}, {"learning_rate": "auto"},
            why="η is found while training (Prodigy, Mishchenko and Defazio 2023); β₁ and β₂ as Adam's",
        ),
        Optimizer(
            "adamax", "Adamax", {"learning_rate": _rates(2e-4), "beta_1": _MOMENTUM, "beta_2": _SECOND},
            why="twice Adam's rates, as its authors' default is (Kingma and Ba 2015, algorithm 2)",
        ),
        Optimizer(
            "rmsprop", "RMSprop", {"learning_rate": _rates(1e-4), "rho": _SECOND, "epsilon": _RELATIVE},
            relative={"epsilon": 2}, why="Adam's rates; Keras adds ε to the square, so that √ε is drawn relative to η",
        ),
        Optimizer(
            "adagrad", "Adagrad", {"learning_rate": _rates(1e-3), "epsilon": _RELATIVE},
            {"initial_accumulator_value": 0.0}, {"epsilon": 2},
            "ten times Adam's rates, for its steps shrink; Keras sums the accumulator's first value and ε, so that ε "
            "alone is drawn",
        ),
        Optimizer(
            "adadelta", "Adadelta", {"learning_rate": _rates(1e-2), "rho": _SECOND, "epsilon": Range(1e-8, 1e-2)},
            why="around the paper's 1 (Zeiler 2012); its first steps are of the size of √ε",
        ),
        Optimizer("sgd", "SGD", {"learning_rate": _rates(3e-3)}, why="around Keras's 0.01 and upwards"),
        Optimizer(
            "momentum", "SGD", {"learning_rate": _rates(3e-4), "momentum": _MOMENTUM},
            why="a tenth of SGD's rates: a step of momentum 0.9 is ten gradients long",
        ),
        Optimizer(
            "nesterov", "SGD", {"learning_rate": _rates(3e-4), "momentum": _MOMENTUM}, {"nesterov": True},
            why="as momentum's",
        ),
        Optimizer(
            "lion", "Lion", {"learning_rate": _rates(1e-5), "beta_1": _MOMENTUM, "beta_2": Range(0.9, 0.999)},
            why="a tenth of Adam's rates, as its authors advise (Chen et al. 2023, section 5)",
        ),
    )
}  # fmt: skip

SWITCHES = {
    "cosine": "the learning rate falls to 0 along a cosine",
    "ema": "the weights at the end are a moving average of those on the way",
    "weight-decay": "decoupled weight decay",
}


def named(text: str) -> Optimizer:
    """The optimizer that a name stands for.

    Args:
        text: One of `OPTIMIZERS`, or the name of a class in `keras.optimizers` (`Adafactor`), in any case; then, if
            wanted, `+` and a switch, once or more (`adam+ema+cosine`).

    Raises:
        InputError: There is none of this name.

    Example:
        >>> named("momentum").space["learning_rate"]
        Range(low=0.0003, high=0.3, scale=None, points=None)
        >>> named("adam+cosine").cosine
        True
    """
    name, *switches = (part.strip() for part in text.strip().split("+"))
    optimizer = OPTIMIZERS.get(name.lower().replace("_", "-")) or _of_keras(name)
    if optimizer is None:
        raise InputError(
            f"optimizers must be of {listed(OPTIMIZERS)}, or a class of keras.optimizers. Received: {text!r}."
            f"{nearest(name, OPTIMIZERS) or nearest(name, _classes())}"
        )
    for switch in switches:
        optimizer = _switched(optimizer, switch, text)
    return optimizer


def checked(optimizers: str | Iterable[Any]) -> list[Optimizer]:
    """Optimizers as they are given to `compare`: names, with commas between them or in a list, or `Optimizer`s."""
    given: Sequence[Any] = optimizers.split(",") if isinstance(optimizers, str) else list(optimizers)
    found = [one if isinstance(one, Optimizer) else named(one) for one in given if one or not isinstance(one, str)]
    names = [one.name for one in found]
    if not found:
        raise InputError(f"optimizers must be at least one of {listed(OPTIMIZERS)}. Received: {optimizers!r}")
    if len(set(names)) < len(names):
        raise InputError(f"optimizers must have names of their own each. Received: {', '.join(names)}")
    for one in found:
        if "learning_rate" not in one.space and one.fixed.get("learning_rate") != "auto":
            raise InputError(f"the space of an optimizer must have a learning_rate. Received: {one.name} without")
        spaces.draw(dict(one.space), 1)  # checks names and ranges
    return found


def _switched(optimizer: Optimizer, switch: str, text: str) -> Optimizer:
    name, space, fixed, cosine = f"{optimizer.name}+{switch}", dict(optimizer.space), dict(optimizer.fixed), False
    if switch in ("cosine", "ema") and optimizer.fixed.get("schedule_free"):
        raise InputError(f"schedule-free takes no {switch}: its average stands in for it. Received: {text!r}")
    if switch == "cosine" and "learning_rate" in optimizer.fixed:
        raise InputError(f"auto takes no cosine: it finds its learning rates itself. Received: {text!r}")
    if switch == "cosine":
        cosine = True
    elif switch == "ema":
        fixed |= {"use_ema": True}
        space |= {"ema_momentum": Range(0.9, 0.999)}
    elif switch == "weight-decay":
        space |= {"weight_decay": _WEIGHT_DECAY}
    else:
        raise InputError(
            f"a switch of an optimizer must be one of {listed(SWITCHES)}. Received: {switch!r} in {text!r}."
            f"{nearest(switch, SWITCHES)}"
        )
    return dataclasses.replace(
        optimizer, name=name, space=space, fixed=fixed, cosine=cosine or optimizer.cosine,
        why=f"{optimizer.why}; {SWITCHES[switch]}",
    )  # fmt: skip


def _classes() -> dict[str, Any]:
    """Keras's optimizers that take a learning rate, by name."""
    import keras

    found = {
        name: one
        for name, one in vars(keras.optimizers).items()
        if inspect.isclass(one) and issubclass(one, keras.optimizers.Optimizer)
    }
    return {name: one for name, one in found.items() if "learning_rate" in inspect.signature(one).parameters}


def _of_keras(name: str) -> Optimizer | None:
    """Any of Keras's, with a space around its own defaults."""
    known = {each.lower(): (each, one) for each, one in _classes().items()}
    if name.lower() not in known:
        return None
    kind, made = known[name.lower()]
    defaults = {name: one.default for name, one in inspect.signature(made).parameters.items()}
    middle = defaults["learning_rate"]
    space = {"learning_rate": Range(middle / 10**1.5, middle * 10**1.5)}
    for own in ("beta_1", "beta_2", "rho"):
        if isinstance(defaults.get(own), float):
            space[own] = _MOMENTUM if own == "beta_1" else _SECOND
    if defaults.get("momentum"):
        space["momentum"] = _MOMENTUM
    space = {name: values for name, values in space.items() if name in HYPERPARAMETERS}
    return Optimizer(kind.lower(), kind, space, why=f"around the learning rate that Keras gives {kind}")
