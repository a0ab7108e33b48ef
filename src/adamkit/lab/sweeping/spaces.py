"""Search spaces: which settings of hyperparameters a sweep trains.

A setting is a mapping of hyperparameter names to values. A space is a mapping of names to what each may be: a value, a
list of values, a `Range`, or the text that stands for one of them. `grid` makes every combination, `draw` takes some.

Steps that multiply matter more than steps that add for a learning rate, ε and weight decay, so they are spaced on a log
scale; β is spaced by the logarithm of 1 - β, because 1 / (1 - β) is how many gradients a mean goes back (Bergstra and
Bengio 2012, "Random Search for Hyper-Parameter Optimization", do so for learning rates).
"""

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamkit.lab.errors import InputError, listed, nearest, shown
from adamkit.lab.hyperparameters import HYPERPARAMETERS, Hyperparameter, Value

SCALES = ("log", "linear")
METHODS = ("sobol", "random")
MOST_RUNS = 1_000_000  # of a sweep, and so of settings, points and draws: their list alone takes a gigabyte
TEXT_FORMS = "values (0.001,0.01), a range (1e-5..1e-1), or a range with its scale and points (1e-5..1e-1:log:32)"

Setting = dict[str, Value]


@dataclass(frozen=True)
class Range:
    """All values from `low` to `high`, or some of them.

    It is checked when a space is made of it, because only then it is known which hyperparameter it is of.

    Args:
        low: Smallest value, included.
        high: Largest value, included.
        scale: `"log"` or `"linear"`; for a β, `"log"` is the logarithm of 1 - β. Default: the hyperparameter's habitual
            scale.
        points: The range stands for this many values, evenly spaced on the scale, both ends among them. A `grid` needs
            it; `draw` takes any value of the range without it, and those values alone with it. Whole numbers are
            rounded to, so that there may be fewer.

    Example:
        >>> str(Range(1e-5, 1e-1, "log", 32))
        '1e-05..0.1:log:32'
        >>> grid({"learning_rate": Range(1e-3, 1e-1, points=3)})
        [{'learning_rate': 0.001}, {'learning_rate': 0.01}, {'learning_rate': 0.1}]
    """

    low: float
    high: float
    scale: str | None = None
    points: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.low!r}..{self.high!r}", self.scale, None if self.points is None else str(self.points)]
        return ":".join(part for part in parts if part is not None)


Values = Value | str | Range | Iterable[Value]
Space = Mapping[str, Values] | Sequence[Mapping[str, Value]]


def parse(name: str, text: str) -> Range | list[Value]:
    """What `text` says a hyperparameter may be.

    Args:
        name: The hyperparameter's.
        text: Values with commas between them (`0.8,0.9,0.95`; `true,false`), or `LOW..HIGH`, then, if wanted,
            `:log` or `:linear`, then, if wanted, `:` and a number of points (`1e-5..1e-1:log:32`, `16..256:5`).

    Returns:
        The checked values, or the checked range.

    Raises:
        InputError: `name` is no hyperparameter, or `text` is none of these or has a value that `name` does not accept.

    Example:
        >>> parse("beta_1", "0.8, 0.9")
        [0.8, 0.9]
        >>> parse("learning_rate", "1e-5..1e-1:log:32")
        Range(low=1e-05, high=0.1, scale='log', points=32)
    """
    known = _hyperparameter(name)
    if ".." not in text:
        return [known.check(_from_text(known, part)) for part in text.split(",")]
    ends, *options = (part.strip() for part in text.split(":"))
    scale = options.pop(0) if options and options[0] in SCALES else None
    points = options.pop(0) if options else None
    if options or (points is not None and not points.isdecimal()):
        raise InputError(f"{name} must be {TEXT_FORMS}. Received: {name}={text!r}")
    low, _, high = ends.partition("..")
    count = None if points is None else int(points[:20])  # more digits are too many in any case
    return _checked_range(known, Range(_from_text(known, low), _from_text(known, high), scale, count))


def grid(space: Mapping[str, Values]) -> list[Setting]:
    """Every combination of the values of a space.

    Args:
        space: Names of hyperparameters, and what each may be: a value, some values, a `Range` with `points`, or its
            text (see `parse`). Names: those of `HYPERPARAMETERS`.

    Returns:
        The settings; the last name's value changes fastest. A value that is given twice counts once, so there may be
        fewer than `size(space)`.

    Raises:
        InputError: The space is empty or has more than a million settings, a name is no hyperparameter, a value is not
            accepted, or a range is reversed, of zero length, through zero on a log scale or without points.

    Example:
        >>> grid({"learning_rate": "0.001,0.01", "amsgrad": [False, True]})[1]
        {'learning_rate': 0.001, 'amsgrad': True}
    """
    check_runs(size(space))  # before any is made
    axes = [_axis(name, _resolved(name, values)) for name, values in _checked_mapping(space).items()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def draw(space: Mapping[str, Values], n: int, *, method: str = "sobol", seed: int = 0) -> list[Setting]:
    """Some settings of a space, spread over it.

    Args:
        space: As in `grid`; a `Range` needs no points here.
        n: How many, from 1 to a million.
        method: `"sobol"` is a scrambled Sobol sequence (`scipy.stats.qmc.Sobol`), which leaves fewer and smaller gaps
            than independent draws; best where `n` is a power of 2. `"random"` is independent uniform draws.
        seed: Of the draw; the same seed gives the same settings.

    Returns:
        `n` settings. Those that come up twice are left out, so there are fewer where the space has few.

    Raises:
        InputError: As in `grid`, and where `n`, `method` or `seed` is wrong.

    Example:
        >>> settings = draw({"learning_rate": "1e-5..1e-1", "beta_1": "0.8,0.9"}, 16)
        >>> len(settings), all(1e-5 <= setting["learning_rate"] <= 1e-1 for setting in settings)
        (16, True)
    """
    axes = resolved(space)
    n = _whole("n", n, minimum=1, maximum=MOST_RUNS)
    seed = _whole("seed", seed, minimum=0)
    if method not in METHODS:
        raise InputError(f"method must be one of {listed(METHODS)}. Received: method={method!r}.")
    # Of whole numbers several points may be one value.
    axes = {
        name: _axis(name, values) if isinstance(values, Range) and values.points and _is_whole(name) else values
        for name, values in axes.items()
    }
    settings = [
        {name: _quantile(name, values, u) for (name, values), u in zip(axes.items(), row, strict=True)}
        for row in unit_points(n, len(axes), method, seed).tolist()
    ]
    return list({tuple(setting.values()): setting for setting in settings}.values())


def resolved(space: Mapping[str, Values]) -> dict[str, Range | list[Value]]:
    """What each hyperparameter of a space may be: a checked range, or checked values, each once.

    Raises:
        InputError: As in `draw`.
    """
    return {name: _resolved(name, values) for name, values in _checked_mapping(space).items()}


def settings_of(space: Space) -> list[Setting]:
    """The settings that a space or a list of settings stands for, checked.

    Args:
        space: A mapping as in `grid`, of which the grid is made; or settings, as `grid`, `draw` or a tuner gives them.
            Settings are kept as they are, in their order, those that occur twice too.

    Returns:
        Settings that all have the same names, in the order of the first, and Python numbers as values.

    Raises:
        InputError: As in `grid`, or where a setting has other names than the first.

    Example:
        >>> settings_of({"beta_1": "0.8,0.9"}) == settings_of([{"beta_1": 0.8}, {"beta_1": 0.9}])
        True
    """
    if isinstance(space, Mapping):
        return grid(space)
    if not isinstance(space, Iterable) or isinstance(space, (str, bytes)):
        raise InputError(f"space must be a mapping of names to values, or a list of settings. Received: {space!r}.")
    given = list(space)
    if not given:
        raise InputError("space must have at least one setting. Received: an empty list.")
    for i, setting in enumerate(given):
        if not isinstance(setting, Mapping):
            raise InputError(
                f"space must be a list of mappings of names to values. Received: {setting!r} at place {i}."
            )
        if setting.keys() != given[0].keys():
            raise InputError(
                "space must have the same hyperparameters in all settings. "
                f"Received: {listed(given[0])} at place 0, {listed(setting) or 'none'} at place {i}."
            )
    known = {name: _hyperparameter(name) for name in _checked_mapping(given[0])}
    return [{name: known[name].check(setting[name]) for name in known} for setting in given]


def size(space: Space) -> int:
    """How many settings a space has, without making them.

    Args:
        space: As in `settings_of`.

    Returns:
        Their number, before those that are the same are left out.

    Raises:
        InputError: As in `settings_of`, except that the values in a list of settings are not looked at.

    Example:
        >>> size({"learning_rate": "1e-5..1e-1:log:1000", "beta_1": "0..0.99:1000", "epsilon": "1e-9..1:1000"})
        1000000000
    """
    if not isinstance(space, Mapping):
        return len(space)
    return math.prod(
        _points(name, values) if isinstance(values, Range) else len(values) for name, values in resolved(space).items()
    )


def check_runs(settings: int, seeds: int = 1) -> None:
    """InputError where a sweep would have more runs than can be listed."""
    if settings * seeds > MOST_RUNS:
        of_each = f" with {shown(seeds)} seeds each" if seeds > 1 else ""
        raise InputError(
            f"a sweep must have at most {MOST_RUNS:,} runs. Received: {shown(settings)} settings{of_each}; draw some "
            "of them at random, or give fewer points or seeds"
        )


def check_seeds(first: int, seeds: int) -> None:
    """InputError unless there are as many numbers of 32 bits from the first on, for each run draws with one."""
    if first + seeds > 2**32:
        raise InputError(f"seed must be <= 2³² - seeds, {2**32 - seeds}. Received: seed={first}, seeds={seeds}")


def _hyperparameter(name: Any) -> Hyperparameter:
    if name in HYPERPARAMETERS:
        return HYPERPARAMETERS[name]
    raise InputError(
        f"A hyperparameter must be one of {listed(HYPERPARAMETERS)}. Received: {name!r}."
        f"{nearest(str(name).replace('-', '_'), HYPERPARAMETERS)}"
    )


def _checked_mapping(space: Any) -> Mapping[str, Any]:
    if not isinstance(space, Mapping):
        raise InputError(f"space must be a mapping of hyperparameters to values. Received: {space!r}.")
    if not space:
        raise InputError(f"space must have at least one of {listed(HYPERPARAMETERS)}. Received: an empty space.")
    return space


def _resolved(name: str, values: Any) -> Range | list[Value]:
    """What the user gave for one hyperparameter, as a checked range or as checked values, each once."""
    known = _hyperparameter(name)
    if isinstance(values, str):
        values = parse(name, values)
    if isinstance(values, Range):
        return _checked_range(known, values)
    if isinstance(values, numbers.Real):
        values = [values]
    if not isinstance(values, Iterable) or isinstance(values, (Mapping, bytes)):
        raise InputError(f"{name} must be a value, a list of values or a Range. Received: {name}={values!r}")
    checked = list(dict.fromkeys(known.check(value) for value in values))
    if not checked:
        raise InputError(f"{name} must have at least one value, and each be {known.accepted}. Received: {name}=[]")
    return checked


def _checked_range(known: Hyperparameter, given: Range) -> Range:
    name = known.name
    if known.kind == "flag":
        raise InputError(f"{name} must be true or false, or both, as true,false. Received: {name}={given}")
    if given.scale not in (None, *SCALES):
        raise InputError(f"The scale of {name} must be one of {listed(SCALES)}. Received: {name}={given}")
    low, high = known.check(given.low), known.check(given.high)
    if not low < high:
        raise InputError(f"The range of {name} must go from a smaller to a larger value. Received: {name}={given}")
    if low == 0 and not known.is_decay and (given.scale or known.scale) == "log":
        raise InputError(
            f"A range of {name} on a log scale must begin above 0. Received: {name}={given}. "
            f"For 0 too, give a list (0,1e-4,1e-3) or the linear scale ({low:g}..{high:g}:linear)."
        )
    points = (
        None
        if given.points is None
        else _whole(f"The number of points of {name}", given.points, minimum=2, maximum=MOST_RUNS)
    )
    return Range(low, high, given.scale, points)


def _points(name: str, values: Range) -> int:
    if values.points is None:
        raise InputError(
            f"In a grid, {name} must have a number of points. Received: {name}={values}. Write, for 10 of them, "
            f"{values}:10, or draw settings at random."
        )
    return values.points


def _axis(name: str, values: Range | list[Value]) -> list[Value]:
    """The values of one hyperparameter in a grid, each once."""
    return _at_points(name, values, np.arange(_points(name, values))) if isinstance(values, Range) else values


def _at_points(name: str, values: Range, which: np.ndarray) -> list[Value]:
    """Some of the points of a range, by their numbers from 0."""
    known, last = HYPERPARAMETERS[name], _points(name, values) - 1
    low, high = known.position([values.low, values.high], values.scale).tolist()
    found = known.at(low + which * ((high - low) / last), values.scale)
    found = np.where(which == 0, values.low, np.where(which == last, values.high, found))  # as given, to the last digit
    return _within(known, values, found)


def _quantile(name: str, values: Range | list[Value], u: float) -> Value:
    """The value below which the share `u` (0 <= u < 1) of an axis lies."""
    if not isinstance(values, Range):
        return values[int(u * len(values))]
    if values.points is not None:
        return _at_points(name, values, np.array([int(u * values.points)]))[0]
    known = HYPERPARAMETERS[name]
    margin = 0.5 if _is_whole(name) else 0.0  # so that both ends come up as often as what is between them
    low, high = known.position([values.low - margin, values.high + margin], values.scale)
    return _within(known, values, known.at([low + u * (high - low)], values.scale))[0]


def _is_whole(name: str) -> bool:
    return HYPERPARAMETERS[name].kind == "integer"


def _within(known: Hyperparameter, values: Range, found: np.ndarray) -> list[Value]:
    """Numbers as values of a hyperparameter, within the range that rounding may have left, each once."""
    if known.kind == "integer":
        found = np.round(found)
    return list(dict.fromkeys(known.check(x) for x in np.clip(found, values.low, values.high)))


def unit_points(n: int, dimensions: int, method: str, seed: int) -> np.ndarray:
    """(n, dimensions) float64 in [0, 1)."""
    generator = np.random.default_rng(seed)
    if method == "random":
        return generator.random((n, dimensions))
    from scipy.stats import qmc  # a second to import, and of use here alone

    sobol = qmc.Sobol(dimensions, rng=generator)
    return sobol.random_base2((n - 1).bit_length())[:n]  # a whole power of 2, as the sequence is made for


def _from_text(known: Hyperparameter, text: str) -> Any:
    """The number or flag that a text stands for."""
    word = text.strip().lower()
    if known.kind == "flag" and word in ("true", "false"):
        return word == "true"
    try:
        return float(word)
    except ValueError:
        forms = "" if known.kind == "flag" else f" Write {TEXT_FORMS}."
        raise InputError(
            f"{known.name} must be {known.accepted}. Received: {known.name}={text.strip()!r}.{forms}"
        ) from None


def _whole(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or int(value) < minimum or (maximum is not None and int(value) > maximum):
        most = "" if maximum is None else f" and <= {maximum:,}"
        raise InputError(f"{name} must be a whole number >= {minimum}{most}. Received: {shown(value)}.")
    return int(value)
