"""Charts of a sweep that answer the pointer: settings with their learning curves, and all hyperparameters at once."""

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.charts.settings import (
    MOST_BEHIND,
    MOST_CURVES,
    MOST_MARKS,
    MOST_POINTS_BEHIND,
    as_one_line,
    curve_axes,
    curves_of,
    label,
    metric_of,
    most_influential,
    objective_scale,
    parted,
    settings_of,
    thinned,
    tooltip_of,
    varied,
)
from adamkit.lab.insight.charts.sweep import Cells, heat_layers
from adamkit.lab.insight.charts.theme import (
    BEST,
    FAINT,
    HALO,
    HEIGHT,
    OTHERS,
    WIDTH,
    config,
    finished,
    hyperparameter_axis,
    is_log,
    title_of,
    value_axis,
    value_scale,
)
from adamkit.lab.insight.sensitivity import Sensitivity, shown

UNDER, BRUSH = "under", "brush"  # the names of the two selections
_DIVERGED = -0.09  # where diverging settings stand on the axis of the objective, below the worst


def explorer(table: pd.DataFrame, summary: pd.DataFrame, result: Sensitivity) -> alt.ConcatChart:
    """Settings over the two hyperparameters that matter most, and the learning curves of what is under the pointer.

    Where one hyperparameter was varied, the objective over it takes the place of the heat map.

    Args:
        table: One row a setting, seed and epoch.
        summary: One row a setting.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`; at least one hyperparameter varies
            and one setting does not diverge.
    """
    names = most_influential(result)[:2]
    layers, notes, cells = (
        heat_layers(names[0], names[1], summary, result) if len(names) == 2 else _dots(names[0], summary, result)
    )
    settings = cells.settings if cells.is_grid else thinned(cells.settings)
    fields = names if cells.is_grid and len(names) == 2 else ["setting"]
    best = settings.loc[settings["sort"].idxmin()]
    shown_first: Any = {field: np.asarray(best[field]).item() for field in fields}
    under = alt.selection_point(
        name=UNDER,
        fields=fields,
        value=[shown_first],
        on="pointerover",
        nearest=not cells.is_grid,
        clear=False,
        empty=False,
    )
    settings = settings.assign(words=[_in_words(row, result) for _, row in settings.iterrows()])
    hover: Any = alt.Chart(settings)
    hover = hover.mark_rect(opacity=0) if cells.is_grid else hover.mark_point(opacity=0, size=200)
    tooltip = tooltip_of(result, *(["objective"] if settings["objective"].isna().any() else []))
    layers.append(hover.encode(*cells.place, tooltip=tooltip).add_params(under))

    everything = settings_of(None, summary, result)
    drawn = thinned(everything, MOST_CURVES)
    curves, means = curves_of(table, drawn, result)
    some = thinned(everything, MOST_BEHIND)
    behind, _ = curves_of(table, some, result, MOST_POINTS_BEHIND)
    x, y = curve_axes(means, result)
    together: Any = ["epoch", "objective"]
    chosen = alt.Chart(curves).transform_filter(under).transform_flatten(together)
    lines = [
        as_one_line(alt.Chart(behind).transform_flatten(together), style=FAINT, strokeWidth=0.5).encode(x, y),
        chosen.mark_line(style=BEST, strokeWidth=2.5, point=means["epoch"].nunique() == 1).encode(
            x, y, detail="setting:N", tooltip=tooltip_of(result, "objective")
        ),
        alt.Chart(settings)
        .transform_filter(under)
        .mark_text(align="left", baseline="top", fontSize=11, fontWeight="bold", lineBreak="\n", lineHeight=14)
        .encode(text="words:N", x=alt.value(0), y=alt.value(-6 - 14 * (1 + -(-len(varied(result)) // 2)))),
    ]
    few = "" if len(drawn) == len(everything) else f" ({len(drawn)} of them have one here)"
    among = f"all {len(everything)}" if len(some) == len(everything) else f"{len(some)} of {len(everything)}"
    notes.append(f"Point at a setting to see its learning curve{few}, in blue among those of {among}")
    metric = metric_of(result)
    left, right = (alt.layer(*part).properties(width=WIDTH * 3 // 4, height=HEIGHT) for part in (layers, lines))
    both = alt.concat(left, right, columns=2).resolve_scale(color="independent")
    heading = alt.TitleParams(f"{metric} by {' and '.join(map(title_of, names))}, and over the epochs", subtitle=notes)
    return both.properties(title=heading).configure(**config())


def parallel_coordinates(summary: pd.DataFrame, result: Sensitivity) -> alt.LayerChart:
    """All hyperparameters side by side, a line a setting from axis to axis, and a box that keeps those in it.

    The last axis is the objective by rank: the best is at the top, a quarter of the settings is a quarter of the axis,
    and those that diverge are below it.

    Args:
        summary: One row a setting.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.
    """
    settings = settings_of(None, summary, result)
    names = most_influential(result)[::-1]
    finite, diverged = parted(settings)
    places = pd.DataFrame({"setting": settings["setting"]})
    ticks: list[tuple[str, float, str]] = []
    for name in names:
        places[name], own = _axis(name, settings[name])
        ticks += own
    ranks = finite["sort"].rank(method="average")
    places["result"] = (1 - (ranks - 1) / max(len(finite) - 1, 1)).reindex(settings.index).fillna(_DIVERGED)
    best_first = finite["objective"].loc[ranks.sort_values().index].to_numpy()
    for share in (0, 0.25, 0.5, 0.75, 1):
        ticks.append(("result", 1 - share, f"{best_first[round(share * (len(finite) - 1))]:.3g}"))
    if len(diverged):
        ticks.append(("result", _DIVERGED, "diverges"))
    tips = [f"{name}_value" for name in names]
    for name, tip in zip(names, tips, strict=True):
        places[tip] = [shown(name, value) for value in settings[name]]
    places["objective"] = settings["objective"]
    kept = thinned(settings, MOST_MARKS).index[::-1]  # the best on top
    axes: list[Any] = [*names, "result"]
    metric = metric_of(result)
    in_two = "split(datum.value, '_')"
    end = json.dumps([metric, "(by rank)"])
    x = alt.X(
        "axis:N",
        sort=axes,
        title=None,
        scale=alt.Scale(type="point", padding=0.35),
        axis=alt.Axis(
            labelAngle=0, orient="top", domain=False, ticks=False, grid=True, labelPadding=24, labelFontWeight="bold",
            labelExpr=f"datum.value === 'result' ? {end} : length(datum.value) < 9 ? datum.value : {in_two}",
            labelOverlap=False,
            labelBaseline="bottom", labelLineHeight=14,
        ),
    )  # fmt: skip
    low = _DIVERGED - 0.03 if len(diverged) else 0
    y = alt.Y("position:Q", axis=None, scale=alt.Scale(domain=[low, 1], nice=False))
    brush = alt.selection_interval(name=BRUSH, encodings=["x", "y"])
    # Kept is a setting whose line goes through the box on every axis that the box covers.
    here, after = ("{" + ", ".join(f"{a}: {b}" for a, b in pairs) + "}[datum.axis]" for pairs in _following(axes))
    chosen = (
        alt.Chart(places.loc[kept])
        .transform_fold(axes, as_=["axis", "position"])
        .transform_calculate(inside=f"vlSelectionTest('{BRUSH}_store', datum) ? 1 : 0")
        .transform_joinaggregate(through="sum(inside)", groupby=["setting"])
        .transform_joinaggregate(most="max(through)")
        .transform_filter("datum.through === datum.most")
    )
    tooltip = [alt.Tooltip(f"{tip}:N", title=name) for name, tip in zip(names, tips, strict=True)]
    tooltip.append(alt.Tooltip("objective:Q", title=metric, format=".4~g"))
    color = alt.Color("result:Q", scale=alt.Scale(domain=[0, 1], clamp=True), legend=None)
    labels = alt.Chart(pd.DataFrame(ticks, columns=["axis", "position", "text"]))
    # A piece from axis to axis each, and behind them one line that breaks between settings (`as_one_line`).
    pieces = chosen.transform_calculate(next=here, end=after).mark_rule(strokeWidth=1.2)
    behind = places.loc[thinned(settings, MOST_BEHIND).index].assign(gap=None)
    broken = alt.Chart(behind).transform_fold([*axes, "gap"], as_=["axis", "position"])
    broken = broken.transform_calculate(axis="datum.axis === 'gap' ? 'result' : datum.axis")
    layers = [
        as_one_line(broken, style=FAINT, strokeWidth=0.5).encode(x, y).add_params(brush),
        pieces.encode(x, y, color, x2="next:N", y2="end:Q", tooltip=tooltip),
        labels.mark_text(align="left", dx=6, fontSize=11, style=HALO).encode(x, y, text="text:N"),
        labels.mark_text(align="left", dx=6, fontSize=11).encode(x, y, text="text:N"),
    ]
    few = "" if len(kept) == len(settings) else f" ({len(kept)} of {len(settings)} are drawn)"
    notes = [
        f"A line is a setting{few}, in strong colour where {metric} is good. Drag a box over one axis or several to "
        "keep the settings that go through it; click beside it to let go",
    ]
    return finished(alt.layer(*layers), "All hyperparameters side by side", notes)


def _dots(name: str, summary: pd.DataFrame, result: Sensitivity) -> tuple[list, list[str], Cells]:
    """The objective over the one hyperparameter that was varied."""
    settings = settings_of(None, summary, result)
    finite, _ = parted(settings)
    kind = objective_scale(finite["objective"], result)
    place = (
        alt.X(**hyperparameter_axis(name, settings[name])),
        alt.Y("objective:Q", title=metric_of(result), scale=value_scale(kind, padding=18), axis=value_axis(kind)),
    )
    dots = alt.Chart(thinned(finite)).mark_circle(style=OTHERS, opacity=1, size=60).encode(*place)
    return [dots], [], Cells(finite, place, is_grid=False)


def _axis(name: str, values: Any) -> tuple[np.ndarray, list[tuple[str, float, str]]]:
    """Where the values of a hyperparameter stand on its axis, from 0 to 1, and what is written there."""
    known = HYPERPARAMETERS[name]
    different = np.unique(values.to_numpy())
    if known.kind == "flag" or not is_log(name, different):
        place = np.asarray(values, float)
        ends = different.astype(float)
    else:
        place, ends = (_on_log_scale(known, np.asarray(some, float)) for some in (values, different))
    span = (ends[-1] - ends[0]) or 1.0
    few = different if len(different) <= 6 else different[np.linspace(0, len(different) - 1, 5).astype(int)]
    at = dict(zip(different.tolist(), ends.tolist(), strict=True))
    return (place - ends[0]) / span, [
        (name, (at[value] - ends[0]) / span, shown(name, value)) for value in few.tolist()
    ]


def _following(axes: list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """For each axis, as an expression of Vega's, which comes after it, and the setting's place there."""
    pairs = list(zip(axes, [*axes[1:], axes[-1]], strict=True))
    return [(a, f"'{b}'") for a, b in pairs], [(a, f"datum['{b}']") for a, b in pairs]


def _on_log_scale(known: Any, values: np.ndarray) -> np.ndarray:
    """Positions, with 0 a decade below the smallest."""
    position = known.position(values, "log")
    known_ones = position[np.isfinite(position)]
    return np.where(np.isfinite(position), position, known_ones.min() - 1)


def _in_words(setting: Any, result: Sensitivity) -> str:
    """The objective, and two hyperparameters a line, so that it is no wider than a phone."""
    what = "diverges" if setting["diverges"] else f"{metric_of(result)} {setting['objective']:.4g}"
    names = most_influential(result)
    return "\n".join([what, *(label(setting, names[i : i + 2]) for i in range(0, len(names), 2))])
