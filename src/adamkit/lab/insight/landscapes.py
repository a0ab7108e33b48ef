"""Functions of two numbers to watch an optimizer on: each with its gradient, where to start and what to look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

from adamkit.lab.errors import InputError, listed, nearest


class Landscape(NamedTuple):
    """A function f(x, y) to minimize, for numbers and for arrays of NumPy or JAX.

    Attributes:
        formula: It, in words.
        value: (x, y) -> f.
        gradient: (x, y) -> (∂f/∂x, ∂f/∂y).
        start: Where a path begins unless told otherwise.
        window: What a picture shows: the least and largest x, the least and largest y.
        minima: The (x, y) of each; none where f has no least value.
    """

    formula: str
    value: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any], tuple[Any, Any]]
    start: tuple[float, float]
    window: tuple[float, float, float, float]
    minima: tuple[tuple[float, float], ...]


def _beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _beale_gradient(x: Any, y: Any) -> tuple[Any, Any]:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return (
        2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1),
        2 * a * x + 4 * b * x * y + 6 * c * x * y**2,
    )


LANDSCAPES = {
    "quadratic": Landscape(
        "(x² + y²) / 2",
        lambda x, y: (x**2 + y**2) / 2,
        lambda x, y: (x, y),
        *((-2.0, 1.5), (-3.0, 3.0, -3.0, 3.0), ((0.0, 0.0),)),
    ),
    "ravine": Landscape(
        "(x² + 50·y²) / 2",
        lambda x, y: (x**2 + 50 * y**2) / 2,
        lambda x, y: (x, 50 * y),
        *((-4.0, 0.8), (-5.0, 5.0, -2.0, 2.0), ((0.0, 0.0),)),
    ),
    "rosenbrock": Landscape(
        "(1 − x)² + 100·(y − x²)²",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)),
        *((-1.2, 1.0), (-2.0, 2.0, -1.0, 3.0), ((1.0, 1.0),)),
    ),
    "beale": Landscape(
        "(1.5 − x + x·y)² + (2.25 − x + x·y²)² + (2.625 − x + x·y³)²",
        *(_beale, _beale_gradient),
        *((1.0, 1.5), (-1.0, 4.5, -2.0, 2.0), ((3.0, 0.5),)),
    ),
    "saddle": Landscape(
        "(x² − y²) / 2",
        lambda x, y: (x**2 - y**2) / 2,
        lambda x, y: (x, -y),
        *((-2.0, 0.001), (-3.0, 3.0, -3.0, 3.0), ()),
    ),
    "himmelblau": Landscape(
        "(x² + y − 11)² + (x + y² − 7)²",
        lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
        lambda x, y: (
            4 * x * (x**2 + y - 11) + 2 * (x + y**2 - 7),
            2 * (x**2 + y - 11) + 4 * y * (x + y**2 - 7),
        ),
        *((0.0, 0.0), (-5.0, 5.0, -5.0, 5.0)),
        ((3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)),
    ),
}


def landscape(name: str) -> Landscape:
    """The function that `name` names; InputError where there is none."""
    if name not in LANDSCAPES:
        raise InputError(f"unknown function {name!r}.{nearest(name, LANDSCAPES)} Accepted: {listed(LANDSCAPES)}")
    return LANDSCAPES[name]
