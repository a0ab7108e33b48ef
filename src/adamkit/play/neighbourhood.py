"""What is worth training while nobody asks: a map's cells, what is near the sliders, and what is far from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adamkit.lab.hyperparameters import HYPERPARAMETERS, Value
from adamkit.lab.sweeping import spaces
from adamkit.play.choices import Choice

_NEAR, _FAR = 64, 256  # settings
_REACH = 0.15  # of a slider, to both sides
LEVELS = (5, 9, 17)  # cells of a map along each side, ever finer: each has the ones of before

Stops = Mapping[str, Sequence[Value]]


def worth_training(choice: Choice, stops: Stops, axes: tuple[str, str] | None) -> Iterator[Choice]:
    """Choices worth training, the most useful first; some may come twice.

    They have the program of `choice`, but for cells of a map at which a number of another optimizer's is 0.

    Args:
        choice: What is under the sliders.
        stops: Where each slider stops.
        axes: The hyperparameters of the map, or None.
    """
    if axes is not None:
        yield from cells(choice, stops, axes, LEVELS[0])
    yield from sobol(choice, stops, _NEAR, _REACH)
    if axes is not None:
        yield from cells(choice, stops, axes, LEVELS[1])
    yield from sobol(choice, stops, _FAR, 1.0)
    if axes is not None:
        yield from cells(choice, stops, axes, LEVELS[2])


def cells(choice: Choice, stops: Stops, axes: tuple[str, str], side: int) -> Iterator[Choice]:
    """The choices of a map: stops of two sliders, evenly spaced, and the others as they are."""
    one, other = (_spaced(stops[name], side) for name in axes)
    for a in one:
        for b in other:
            yield choice.with_values({axes[0]: a, axes[1]: b})


def sobol(choice: Choice, stops: Stops, n: int, reach: float) -> Iterator[Choice]:
    """Stops around those of a choice, or all over the sliders where `reach` is 1."""
    setting = choice.setting
    space: dict[str, Any] = {}
    for name in numbers(choice):
        among = stops[name]
        here = min(range(len(among)), key=lambda i: abs(float(among[i]) - float(setting[name])))
        far = max(1, round(reach * len(among)))
        # As places of the slider: a range of a hyperparameter of which only its places count.
        space[name] = (max(0, here - far), min(len(among) - 1, here + far))
    for row in spaces.unit_points(n, len(space), "sobol", seed=0).tolist():
        values = {
            name: stops[name][low + round(u * (high - low))]
            for (name, (low, high)), u in zip(space.items(), row, strict=True)
        }
        if _keeps_program(choice, values):
            yield choice.with_values(values)


def numbers(choice: Choice) -> list[str]:
    """The hyperparameters of a choice that are numbers and need no other program."""
    return [
        name
        for name in choice.setting
        if HYPERPARAMETERS[name].kind != "flag" and not HYPERPARAMETERS[name].changes_program
    ]


def _keeps_program(choice: Choice, values: Mapping[str, Value]) -> bool:
    return choice.with_values(values).program == choice.program


def _spaced(among: Sequence[Value], side: int) -> list[Value]:
    return [among[round(i * (len(among) - 1) / (side - 1))] for i in range(side)]
