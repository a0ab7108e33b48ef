"""Learning rates and weight decay of their own for some of a model's variables, chosen by patterns on their paths."""

import difflib
import fnmatch
import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from adamkit import rule
from adamkit.keras.internals import flat_layers, own_variables_of

_Schedule = keras.optimizers.schedules.LearningRateSchedule


class Setting(NamedTuple):
    """What some variables have of their own; None where they do as all others."""

    learning_rate: Any = None  # a float or a schedule
    learning_rate_multiplier: float | None = None
    weight_decay: float | None = None

    def rate(self, optimizers: Any, step: Any) -> Any:
        """The learning rate.

        Args:
            optimizers: That of the optimizer, a number or a tensor.
            step: The number of steps done, which a schedule is given.
        """
        if self.learning_rate is None:
            return optimizers if self.learning_rate_multiplier is None else optimizers * self.learning_rate_multiplier
        return self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate

    def shown(self) -> str:
        """In words, as `describe` shows it."""
        return ", ".join(f"{name} {_shown(value)}" for name, value in self._asdict().items() if value is not None)


@dataclass(frozen=True)
class Resolved:
    """Which variable has which setting.

    Attributes:
        paths: Of the variables.
        settings: Those that occur; the first is that of variables that no pattern matches.
        patterns: Of each setting, those that make it.
        places: Of each variable, the place of its setting.
    """

    paths: list[str]
    settings: list[Setting]
    patterns: list[list[str]]
    places: list[int]


class Groups:
    """Patterns and their settings, checked.

    Args:
        given: What the user gave as `groups`, or None.
        made_for: The paths of the variables for which the optimizer was built that is made again, if it was: models
            that are loaded or copied may have others. Used for variables of the same names in the same order.

    Raises:
        TypeError: It, or a part of it, is of the wrong type.
        ValueError: A setting is unknown or out of its range.
    """

    def __init__(self, given: Any, made_for: Sequence[str] = ()):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(
                "groups must be a dict from patterns to dicts of settings, such as {'*/bias': {'weight_decay': 0.0}}. "
                f"Received: groups={given!r} of type {type(given).__name__}"
            )
        self._settings = {pattern: _checked(pattern, settings) for pattern, settings in (given or {}).items()}
        self._made_for = list(made_for)

    def as_given(self) -> dict[str, dict[str, Any]] | None:
        """The patterns and settings, schedules as they are; None where there are none."""
        return {
            pattern: {name: value for name, value in setting._asdict().items() if value is not None}
            for pattern, setting in self._settings.items()
        } or None

    def config(self) -> dict[str, dict[str, Any]] | None:
        """As `as_given`, with schedules in their serialized form."""
        schedules = keras.optimizers.schedules
        return {
            pattern: {
                name: schedules.serialize(value) if isinstance(value, _Schedule) else value  # pyright: ignore[reportAttributeAccessIssue]
                for name, value in settings.items()
            }
            for pattern, settings in (self.as_given() or {}).items()
        } or None

    def resolve(self, paths: Sequence[str]) -> Resolved:
        """The setting of each variable: of all patterns that match its path; the last that has a part decides it.

        Raises:
            ValueError: A pattern matches no path.
        """
        if [_name(path) for path in paths] == [_name(path) for path in self._made_for]:
            paths = self._made_for
        settings, patterns, places = [Setting()], [[]], []
        unused = dict.fromkeys(self._settings)
        for path in paths:
            matching = [pattern for pattern in self._settings if _matches(path, pattern)]
            setting = Setting()
            for pattern in matching:
                unused.pop(pattern, None)
                setting = _overlaid(setting, self._settings[pattern])
            if setting not in settings:
                settings.append(setting)
                patterns.append([])
            places.append(settings.index(setting))
            kept = patterns[places[-1]]
            kept.extend(pattern for pattern in matching if pattern not in kept)
        for pattern in unused:
            raise ValueError(
                f"groups: no variable has a path that matches {pattern!r}. The nearest is {_nearest(pattern, paths)!r}"
            )
        return Resolved(list(paths), settings, patterns, places)


def with_schedules(config: Any) -> Any:
    """What `Groups.config` gave, with schedules made again; anything else as it is."""
    if not isinstance(config, Mapping):
        return config
    return {
        pattern: {
            name: keras.optimizers.schedules.deserialize(value) if isinstance(value, dict) else value
            for name, value in settings.items()
        }
        for pattern, settings in config.items()
    }


def without_decay(model: keras.Model) -> dict[str, dict[str, float]]:
    """Groups that leave weight decay off biases, normalization and embeddings, as is the habit with AdamW.

    Off it are all variables of normalization and embedding layers, all whose name ends in `bias`, and all of one axis
    or none (scales). What is left, the matrices and the kernels of convolutions, decays.

    Args:
        model: Built, or a single layer.

    Returns:
        For `Adam(groups=…)`: a pattern for each such variable, which matches it alone. Joined with other groups by `|`.

    Raises:
        ValueError: The model has no trainable variables yet.

    Example:
        >>> import keras
        >>> from adamkit.keras import Adam, without_decay
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="out")], name="net")
        >>> without_decay(model)
        {'net/out/bias': {'weight_decay': 0.0}}
        >>> model.compile(Adam(weight_decay=0.01, groups=without_decay(model)), loss="mse")
    """
    if not model.trainable_variables:
        raise ValueError(
            f"model must be built, so that it has variables: give it an Input, or call build. Received: {model.name}"
        )
    by_layer = {
        id(variable)
        for layer in flat_layers(model)
        if any(kind.__name__.endswith(("Normalization", "Embedding")) for kind in type(layer).__mro__)
        and not isinstance(layer, keras.layers.Wrapper)  # SpectralNormalization: its kernel is another layer's
        for variable in own_variables_of(layer)
    }
    return {
        glob.escape(variable.path): {"weight_decay": 0.0}
        for variable in model.trainable_variables
        if id(variable) in by_layer or variable.name.endswith("bias") or len(variable.shape) <= 1
    }


def _checked(pattern: Any, settings: Any) -> Setting:
    if not isinstance(pattern, str):
        raise TypeError(f"groups: a pattern must be a string. Received: {pattern!r} of type {type(pattern).__name__}")
    known = ", ".join(Setting._fields)
    if not isinstance(settings, Mapping):
        raise TypeError(
            f"groups[{pattern!r}] must be a dict of {known}. Received: {settings!r} of type {type(settings).__name__}"
        )
    if not settings or not set(settings) <= set(Setting._fields):
        raise ValueError(f"groups[{pattern!r}] must have some of {known}, and nothing else. Received: {settings!r}")
    if {"learning_rate", "learning_rate_multiplier"} <= set(settings):
        raise ValueError(
            f"groups[{pattern!r}] must have learning_rate, in place of the optimizer's, or learning_rate_multiplier, "
            f"times it, not both. Received: {settings!r}"
        )
    return Setting(**{name: _value(f"groups[{pattern!r}][{name!r}]", value) for name, value in settings.items()})


def _value(name: str, value: Any) -> Any:
    if isinstance(value, _Schedule) and name.endswith("['learning_rate']"):
        return value
    number: Any = value
    return rule.check_number(name, float(number) if ops.is_tensor(number) and len(number.shape) == 0 else number)


def _overlaid(setting: Setting, later: Setting) -> Setting:
    """A setting with what a later pattern has in its place; either form of the learning rate displaces the other."""
    if later.learning_rate is not None or later.learning_rate_multiplier is not None:
        setting = setting._replace(learning_rate=None, learning_rate_multiplier=None)
    return setting._replace(**{name: value for name, value in later._asdict().items() if value is not None})


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern matches a path, or what follows one of its slashes."""
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"*/{pattern}")


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _nearest(pattern: str, paths: Sequence[str]) -> str:
    def likeness(ending: str) -> float:
        return difflib.SequenceMatcher(None, pattern, ending).ratio()

    parts = [path.split("/") for path in paths]
    return max(("/".join(part[i:]) for part in parts for i in range(len(part))), key=likeness, default="")


def _shown(value: Any) -> str:
    return type(value).__name__ if callable(value) else f"{value:g}"
