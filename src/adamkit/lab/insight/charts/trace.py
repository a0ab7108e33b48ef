"""Charts of a trace: paths over the contours of a function of two numbers, and what one weight saw step by step."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adamkit.lab.insight.charts.theme import BEST, FAINT, HEIGHT, OTHERS, WIDTH, config, finished
from adamkit.lab.insight.landscapes import Landscape
from adamkit.lab.insight.paths import Path

_POINTS = 121  # of the grid in each direction
_LEVELS = 14
_MOST = 1000  # points of a path


def paths_on_contours(name: str, landscape: Landscape, paths: Sequence[Path]) -> Any:
    """The ways of optimizers from a start, over lines of equal height.

    Args:
        name: What the function is called.
        landscape: It.
        paths: The first one is drawn in front.
    """
    low_x, high_x, low_y, high_y = landscape.window
    x, y = np.linspace(low_x, high_x, _POINTS), np.linspace(low_y, high_y, _POINTS)
    values = np.asarray(landscape.value(x[None, :], y[:, None]))
    levels = np.quantile(values, (np.arange(2, _LEVELS) / _LEVELS) ** 2)  # closer where it is low
    titled = [_called(path) for path in paths]
    table = pd.concat(
        [
            pd.DataFrame(path.points, columns=["x", "y"])
            .assign(optimizer=title, step=range(len(path.points)))
            .iloc[_drawn(len(path.points))]
            for title, path in zip(titled, paths, strict=True)
        ]
    )
    with np.errstate(all="ignore"):
        table["f"] = np.asarray(landscape.value(table["x"].to_numpy(), table["y"].to_numpy()))
    table = table[np.isfinite(table[["x", "y", "f"]]).all(axis=1)]
    x_axis = alt.X(
        "x:Q", title="x", scale=alt.Scale(domain=[low_x, high_x], nice=False, zero=False), axis=alt.Axis(grid=False)
    )
    y_axis = alt.Y(
        "y:Q", title="y", scale=alt.Scale(domain=[low_y, high_y], nice=False, zero=False), axis=alt.Axis(grid=False)
    )
    color = alt.Color(
        "optimizer:N",
        title=None,
        scale=alt.Scale(domain=titled),
        legend=alt.Legend(orient="bottom", columns=3, symbolStrokeWidth=3, labelLimit=WIDTH),
    )
    lines = pd.DataFrame(contour_lines(x, y, values, levels).round(4), columns=["x", "y", "x2", "y2"])
    contours = alt.Chart(_inline(lines))
    layers = [contours.mark_rule(style=FAINT, strokeWidth=0.8, clip=True).encode(x_axis, y_axis, x2="x2", y2="y2")]
    tooltip = ["optimizer:N", "step:Q", *(alt.Tooltip(f"{column}:Q", format=".4~g") for column in ("x", "y", "f"))]
    for title in reversed(titled):  # the first one last, in front
        own = alt.Chart(_inline(table[table["optimizer"] == title])).encode(x_axis, y_axis, color, tooltip=tooltip)
        layers.append(own.mark_line(clip=True, strokeWidth=2.5 if title == titled[0] else 1.5).encode(order="step:Q"))
        layers.append(own.mark_circle(clip=True, size=16))
    marks = pd.DataFrame([paths[0].points[0], *landscape.minima], columns=["x", "y"])
    marks["what"] = ["start", *["minimum"] * len(landscape.minima)]
    for what, shape in (("start", "square"), ("minimum", "cross")):
        layers.append(
            alt.Chart(marks[marks["what"] == what])
            .mark_point(shape=shape, filled=True, size=110, opacity=1, style=BEST, color="#8C8C8C")
            .encode(x_axis, y_axis, tooltip=["what", "x", "y"])
        )
    steps = len(paths[0].points) - 1
    notes = [
        f"f(x, y) = {landscape.formula}; {steps} steps from the square"
        + ("; a cross is a minimum" if landscape.minima else ""),
        "Learning rates behind the names; the others have the one of 1, 2, 5 × 10ᵏ that stays here and ends lowest",
    ]
    return finished(alt.layer(*layers), f"Adam on {name}, and others", notes)


def weight_over_steps(history: pd.DataFrame) -> alt.VConcatChart:
    """The gradient with both corrected moments, the step, and θ of one weight, over the steps.

    Args:
        history: One row a step: see `adamkit.lab.insight.trace.Trace.history`.
    """
    table = history.iloc[_drawn(len(history))].drop(columns="weight")
    table = table.assign(below=-np.sqrt(table["v_hat"]), above=np.sqrt(table["v_hat"]))
    table = table[np.isfinite(table).all(axis=1)]
    names = {"t": "t", "g": "g", "m_hat": "m̂", "above": "√v̂", "step": "step", "theta": "θ"}
    tooltip = [alt.Tooltip(f"{name}:Q", title=title, format=".5~g") for name, title in names.items()]
    base = alt.Chart(_inline(table))
    panels = []
    for title, share, marks in (
        ("gradient", 0.55, [("g", OTHERS), ("m_hat", BEST)]),
        ("step", 0.35, [("step", BEST)]),
        ("θ", 0.35, [("theta", BEST)]),
    ):
        is_last = title == "θ"
        axis = alt.Axis(tickMinStep=1, format="d") if is_last else alt.Axis(labels=False, ticks=False)
        x = alt.X("t:Q", title="step t" if is_last else None, scale=alt.Scale(nice=False, zero=False), axis=axis)
        scale, ticks = alt.Scale(zero=False, nice=False, padding=8), alt.Axis(tickCount=5, format=".3~g", minExtent=60)
        layers: list[Any] = []
        if title == "gradient":
            band = base.mark_area(style=FAINT, opacity=0.35, line=False)
            layers.append(band.encode(x, alt.Y("below:Q", title=title, scale=scale, axis=ticks), alt.Y2("above:Q")))
        for name, style in marks:
            y = alt.Y(f"{name}:Q", title=title, scale=scale, axis=ticks)
            dots = name == "g" or len(table) == 1
            mark = base.mark_circle(style=style, opacity=1, size=22) if dots else base.mark_line(style=style)
            layers.append(mark.encode(x, y, tooltip=tooltip))
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=round(HEIGHT * share)))
    notes = [
        "Above: each gradient as a dot; their mean, corrected, in blue; ± the root of their second moment as a band",
        "The step is the learning rate times the mean divided by that root",
        *([f"{len(table):,} of {len(history):,} steps are drawn"] if len(table) < len(history) else []),
    ]
    heading = alt.TitleParams(f"{history['weight'].iloc[0]} over {len(history):,} steps", subtitle=notes)
    return alt.vconcat(*panels, spacing=12).properties(title=heading).configure(**config())


def contour_lines(x: NDArray, y: NDArray, values: NDArray, levels: Sequence[float] | NDArray) -> NDArray:
    """Straight pieces of the lines on which a function has each of the levels.

    Each cell of the grid is two triangles, and a level that crosses a triangle crosses two of its sides: where, is
    interpolated along them.

    Args:
        x: (columns,) increasing.
        y: (rows,) increasing.
        values: (rows, columns) of the function.
        levels: Its values to draw.

    Returns:
        (pieces, 4): x, y of one end, x, y of the other.
    """
    grid = np.stack([*np.broadcast_arrays(x[None, :], y[:, None]), values], axis=-1)  # (rows, columns, 3)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    triangles = np.concatenate([np.stack(corners, axis=2).reshape(-1, 3, 3) for corners in ((a, b, c), (d, c, b))])
    pieces = []
    for level in levels:
        above = triangles[..., 2] >= level
        ends = []
        for i, j in ((0, 1), (1, 2), (2, 0)):
            crossed = above[:, i] != above[:, j]
            rise = triangles[:, j, 2] - triangles[:, i, 2]
            share = (level - triangles[:, i, 2]) / np.where(crossed, rise, np.inf)
            point = triangles[:, i, :2] + share[:, None] * (triangles[:, j, :2] - triangles[:, i, :2])
            ends.append(np.where(crossed[:, None], point, np.nan))
        there: NDArray[np.bool_] = ~np.isnan(np.stack(ends)[..., 0])  # (3 sides, triangles)
        both = there.sum(axis=0) == 2
        first = np.where(there[0], 0, 1)[both]
        second = np.where(there[2], 2, 1)[both]
        points = np.stack(ends)[:, both]
        column = np.arange(both.sum())
        pieces.append(np.concatenate([points[first, column], points[second, column]], axis=1))
    return np.concatenate(pieces) if pieces else np.empty((0, 4))


def _inline(table: Any) -> alt.InlineData:
    """Altair takes tables of 5000 rows at most, but whatever is given as values."""
    return alt.InlineData(values=table.to_dict("records"))


def _drawn(points: int) -> NDArray[np.integer]:
    """Which points of a path are drawn: all, or so many of a long one, with the last."""
    return np.unique(np.linspace(0, points - 1, min(points, _MOST)).astype(int))


def _called(path: Path) -> str:
    return f"{path.name} {path.learning_rate:g}"
