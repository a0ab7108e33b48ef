"""The two kinds of chart that the experiments draw: lines by case, and maps of two hyperparameters."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.insight.charts import theme
from adamkit.lab.insight.charts.theme import GREY, HEIGHT, VERMILLION, WIDTH, finished

TICKS = 8  # at most so many labels on an axis
_LETTER, _SYMBOL = 6, 30  # pixels of a legend's label

Table = Any


def lines(
    table: Table,
    x: str,
    y: str,
    by: str,
    *,
    title: str,
    notes: Sequence[str] = (),
    log: str = "",
    low: str | None = None,
    high: str | None = None,
    points: bool = True,
    clip: float | None = None,
    reference: tuple[float, str] | None = None,
    dashed: Sequence[str] = (),
) -> Any:
    """A line for each case.

    Args:
        table: One row a point.
        x: The column to the right; its name is the axis's title.
        y: The column upwards. What is not finite is left out.
        by: The column of cases, in the order of their appearance.
        title: What the chart shows.
        notes: How to read it, a line each.
        log: Which of "x" and "y" have a log scale: "", "x", "y" or "xy".
        low: The column of a band's lower end.
        high: The column of its upper end.
        points: Whether the points are marked.
        clip: Larger values are drawn at this one.
        reference: A height and what stands there.
        dashed: Cases that are drawn dashed.
    """
    shown: Table = pd.DataFrame(table)
    names = {column: _plain(column) for column in shown.columns}
    shown = shown.rename(columns=names)
    finite = np.isfinite(shown[_plain(y)].astype(float))
    cases = list(dict.fromkeys(shown[_plain(by)].astype(str)))
    shown = shown[finite].assign(**{_plain(by): shown[_plain(by)].astype(str)})
    if clip is not None:
        columns = [_plain(c) for c in (y, low, high) if c is not None]
        shown[columns] = shown[columns].clip(upper=clip)
    x_axis = alt.X(f"{_plain(x)}:Q", title=x, scale=_scale("x" in log), axis=_axis(shown[_plain(x)], "x" in log))
    y_axis = alt.Y(f"{_plain(y)}:Q", title=y, scale=_scale("y" in log), axis=_axis(shown[_plain(y)], "y" in log))
    color = alt.Color(
        f"{_plain(by)}:N",
        title=by,
        scale=alt.Scale(domain=cases),
        legend=alt.Legend(
            orient="bottom", labelLimit=WIDTH, columns=_columns(cases), symbolStrokeWidth=3, symbolOpacity=1
        ),
    )
    base = alt.Chart(shown)
    layers = []
    if low is not None and high is not None:
        area = base.mark_area(opacity=0.18).encode(
            x_axis, alt.Y(f"{_plain(low)}:Q", title=y, scale=_scale("y" in log)), alt.Y2(f"{_plain(high)}:Q"), color
        )
        layers.append(area)
    dash = alt.value([1, 0])
    if dashed:
        dash = alt.condition(alt.FieldOneOfPredicate(_plain(by), list(dashed)), alt.value([5, 4]), alt.value([1, 0]))
    order = alt.Order(f"{_plain(x)}:Q")
    layers.append(base.mark_line(strokeWidth=2).encode(x_axis, y_axis, color, strokeDash=dash, order=order))
    if points:
        marks = base.mark_circle(size=42, opacity=1)
        layers.append(marks.encode(x_axis, y_axis, color, tooltip=list(shown.columns)))
    if reference is not None:
        at = alt.Chart(pd.DataFrame({"at": [reference[0]], "what": [reference[1]]}))
        place = alt.Y("at:Q", title=y, scale=_scale("y" in log))
        layers.append(at.mark_rule(strokeDash=[2, 3], color=GREY).encode(place))
        text = at.mark_text(align="left", dx=4, dy=-7, color=GREY, fontSize=12)
        layers.append(text.encode(place, x=alt.value(0), text="what:N"))
    return finished(alt.layer(*layers), title, list(notes))


def heat_maps(
    table: Table, x: str, y: str, value: str, by: str, *, title: str, notes: Sequence[str] = (), log: bool = False
) -> Any:
    """A map for each case, side by side, in one scale of colours; crosses where the value is not finite.

    Args:
        table: One row a cell.
        x: The column to the right.
        y: The column upwards.
        value: The column in colour.
        by: The column of cases.
        title: What the maps show.
        notes: How to read them.
        log: Whether the colours have a log scale.
    """
    shown: Table = pd.DataFrame(table)[[x, y, value, by]]
    shown.columns = ["x", "y", "value", "by"]

    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    columns = [text(value) for value in sorted(set(shown["x"]))]
    heights = {
        case: [text(value) for value in sorted(set(one["y"]), reverse=True)]
        for case, one in shown.groupby("by", sort=False)
    }
    shown = shown.assign(x=shown["x"].map(text), y=shown["y"].map(text))
    finite: Table = shown[np.isfinite(shown["value"])]
    every = -(-len(columns) // 6)
    panels = []
    cases = list(heights)
    width = (WIDTH - 40 * (len(cases) - 1)) // len(cases)
    domain = [float(finite["value"].min()), float(finite["value"].max())]
    for place, case in enumerate(cases):
        has_labels = place == 0 or heights[case] != heights[cases[0]]
        x_axis = alt.X("x:O", title=x, sort=columns, axis=alt.Axis(values=columns[::every], labelAngle=0))
        y_axis = alt.Y("y:O", title=y if place == 0 else None, sort=heights[case], axis=alt.Axis(labels=has_labels))
        color = alt.Color(
            "value:Q",
            title=value,
            scale=alt.Scale(type="log" if log else "linear", range="heatmap", reverse=True, domain=domain),
            legend=alt.Legend(orient="bottom", gradientLength=WIDTH // 2, titleLimit=WIDTH, format=".2~g"),
        )
        cells = alt.Chart(finite[finite["by"] == case]).mark_rect().encode(x_axis, y_axis, color=color)
        layers = [cells]
        bad = shown[(shown["by"] == case) & ~np.isfinite(shown["value"])]
        if len(bad):
            cross = alt.Chart(bad).mark_point(shape="cross", angle=45, filled=True, color=VERMILLION, size=60)
            layers.append(cross.encode(x_axis, y_axis))
        best = finite[finite["by"] == case].nsmallest(1, "value")
        frame = alt.Chart(best).mark_rect(filled=False, stroke=VERMILLION, strokeWidth=3)
        layers.append(frame.encode(x_axis, y_axis))
        panels.append(alt.layer(*layers).properties(width=width, height=HEIGHT - 100, title=str(case)))
    heading = alt.TitleParams(title, subtitle=list(notes))
    return alt.hconcat(*panels, spacing=20).properties(title=heading).configure(**theme.config())


def _columns(cases: Sequence[str]) -> int:
    """Of a legend below the plot, so that the longest labels fit side by side."""
    return max(1, min(4, len(cases), WIDTH // (_LETTER * max(map(len, cases), default=1) + _SYMBOL)))


def _plain(name: str) -> str:
    """A column's name without what Vega reads as a path."""
    return "".join(c if c.isalnum() else "_" for c in name)


def _scale(log: bool) -> alt.Scale:
    return alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=12)


def _axis(values: Any, log: bool) -> alt.Axis:
    """On a log scale the powers of ten, or fewer; one that is spanned by less than a decade has its own ticks."""
    if not log:
        return alt.Axis(tickCount=TICKS)
    positive = np.asarray(values, float)
    positive = positive[positive > 0]
    ends = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
    if ends[1] - ends[0] < 3:
        return alt.Axis(format=".2~g", tickCount=TICKS)
    step = max(1, int((ends[1] - ends[0]) // TICKS + 1))
    return alt.Axis(values=[float(f"1e{int(p)}") for p in np.arange(ends[0], ends[1] + 1, step)], format=".0e")
