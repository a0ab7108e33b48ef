"""Charts of a sweep.

`table` has one row a setting, seed and epoch; `summary` has one row a setting, with `mean` and `diverged`; see
`adamkit.lab.sweep`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.budget import best_of
from adamkit.lab.insight.charts.settings import (
    MOST_BEHIND,
    MOST_POINTS_BEHIND,
    Table,
    as_one_line,
    curve_axes,
    curves_of,
    is_large_good,
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
from adamkit.lab.insight.charts.theme import (
    BEST,
    FAINT,
    FORMATS,
    FRAME,
    GREEN,
    OTHERS,
    SHORT,
    VERMILLION,
    WIDTH,
    Format,
    finished,
    hyperparameter_axis,
    save,
    title_of,
    value_axis,
    value_scale,
)
from adamkit.lab.insight.sensitivity import Effect, Sensitivity, range_in_words

_FEW = 100  # curves that each have a line of their own, which says which setting it is
MOST_BARS = 12

Chart = alt.Chart | alt.LayerChart


def write(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    result: Sensitivity,
    folder: str | Path,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Write all charts of a sweep.

    Args:
        table: The history of a sweep.
        summary: Its summary.
        result: Its sensitivity.
        folder: Where; it is made if it is not there.
        formats: Which of `"html"`, `"png"` and `"svg"`.

    Returns:
        The files: each chart of `charts_of` in each format.

    Raises:
        OSError: The disk is full or fails.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    charts = charts_of(table, summary, result)
    return [path for name, chart in charts.items() for path in save(chart, folder, name, formats)]


def charts_of(table: pd.DataFrame, summary: pd.DataFrame, result: Sensitivity) -> dict[str, Chart]:
    """All charts of a sweep.

    Args:
        table: One row a setting, seed and epoch: `setting`, `seed`, the hyperparameters, `epoch`, `loss`, metrics.
        summary: One row a setting: `setting`, the hyperparameters, `mean` and `diverged`.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.

    Returns:
        By name: one for each hyperparameter that was varied, one for the two that matter most
        (`"learning_rate-beta_1"`), `"learning_curves"`, and `"importance"` where it is known. Where all settings
        diverge there is none.
    """
    names = [effect.name for effect in result.effects]
    if result.diverged == result.settings:
        return {}
    charts: dict[str, Chart] = {name: by_hyperparameter(name, table, summary, result) for name in names}
    if len(names) > 1:
        first, second = most_influential(result)[:2]
        charts[f"{first}-{second}"] = heat_map(first, second, summary, result)
    charts["learning_curves"] = learning_curves(table, summary, result)
    if result.interactions:
        charts["importance"] = importance(result)
    return charts


def by_hyperparameter(name: str, table: pd.DataFrame, summary: pd.DataFrame, result: Sensitivity) -> alt.LayerChart:
    """The objective over one hyperparameter.

    It shows every setting, the best at each value with its spread over seeds, the good range, and what diverges.

    Args:
        name: One of the hyperparameters that `result` has an effect of.
        table: One row a setting, seed and epoch.
        summary: One row a setting.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.
    """
    (effect,) = (effect for effect in result.effects if effect.name == name)
    settings = settings_of(table, summary, result)
    finite, diverged = parted(settings)
    profile = pd.DataFrame(effect.profile, columns=["value", "mean", "share"])
    best: Table = finite.merge(profile, left_on=[name, "mean"], right_on=["value", "mean"]).drop_duplicates("value")
    x = alt.X(**hyperparameter_axis(name, settings[name]))
    kind = objective_scale(finite["objective"], result)
    title = f"{metric_of(result)} after {table['epoch'].max()} epochs"
    place: Any = {"title": title, "scale": value_scale(kind, padding=18), "axis": value_axis(kind)}
    y = alt.Y("objective:Q", **place)
    tooltip = tooltip_of(result)

    layers = _shade(effect, settings)
    notes = [("Shaded: " if layers else "") + range_in_words(metric_of(result), effect, result.near)]
    if len(finite) > len(best):
        others = alt.Chart(thinned(finite)).mark_circle(style=OTHERS, opacity=0.5, size=26)
        layers.append(others.encode(x, y, tooltip=tooltip))
        where = (
            "at each value"
            if len(profile) == settings[name].nunique()
            else f"in each of {len(profile)} parts of the range"
        )
        notes.append(f"Grey: every setting. Blue: the best {where}, whatever the others are there")
    if (best["low"] < best["high"]).any():
        spread = alt.Chart(best).mark_rule(style=BEST, strokeWidth=2.5, opacity=0.45)
        layers.append(spread.encode(x, alt.Y("low:Q", **place), alt.Y2("high:Q")))
        notes.append(f"Bars: lowest to highest of {table['seed'].nunique()} seeds. Dots: their mean")
    layers.append(alt.Chart(best).mark_line(style=BEST).encode(x, y))
    dots = alt.Chart(best).mark_circle(style=BEST, opacity=1, size=42)
    layers.append(dots.encode(x, y, tooltip=tooltip))
    if len(diverged):
        layers.append(_crosses(diverged).encode(x, y=alt.value(7), tooltip=tooltip_of(result, "objective")))
        notes.append(f"Crosses at the top: {len(diverged)} of {len(settings)} settings diverge")
    lengths = table.groupby("setting").agg({"epoch": "max"})
    early = np.count_nonzero(lengths < lengths.max())
    if early:
        notes.append(f"{early} settings were stopped early, and are shown as they were then")
    return finished(alt.layer(*layers), f"{metric_of(result)} by {title_of(name)}", notes)


def heat_map(first: str, second: str, summary: pd.DataFrame, result: Sensitivity) -> alt.LayerChart:
    """The objective over two hyperparameters: cells where their values are a grid, points where they were drawn.

    Args:
        first: The hyperparameter to the right.
        second: The one upwards.
        summary: One row a setting.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.
    """
    layers, notes, _ = heat_layers(first, second, summary, result)
    return finished(alt.layer(*layers), f"{metric_of(result)} by {title_of(first)} and {title_of(second)}", notes)


def heat_layers(first: str, second: str, summary: pd.DataFrame, result: Sensitivity) -> tuple[list, list[str], "Cells"]:
    """The layers of `heat_map`, its notes, and what is to be put on top of it."""
    settings = settings_of(None, summary, result)
    best = settings["sort"].idxmin()
    words = label(settings.loc[best], (first, second))
    notes = [f"Framed: the best, {settings.loc[best, 'objective']:.4g} with {words}"]
    pairs = len(settings[[first, second]].drop_duplicates())
    is_grid = pairs == settings[first].nunique() * settings[second].nunique()
    if is_grid and len(settings) > pairs:
        settings = settings.loc[settings.groupby([first, second])["sort"].idxmin()]
        notes.append("Each cell: its best setting, whatever the others are there")
    finite, diverged = parted(settings)

    y = hyperparameter_axis(second, settings[second], bands=is_grid)
    if is_grid:
        y["sort"] = "descending"  # bands run downwards unless they are told not to
    place = alt.X(**hyperparameter_axis(first, settings[first], bands=is_grid)), alt.Y(**y)
    kind = objective_scale(finite["objective"], result)
    scale = alt.Scale(type=kind, range="heatmap", reverse=not is_large_good(result))
    legend = alt.Legend(format=SHORT) if kind == "log" else alt.Undefined
    color = alt.Color("objective:Q", title=metric_of(result), scale=scale, legend=legend)
    marks, frame = alt.Chart(thinned(finite)), alt.Chart(settings.loc[[best]])
    if is_grid:
        marks, frame = marks.mark_rect(), frame.mark_rect(filled=False, style=FRAME, strokeWidth=3)
    else:
        marks = marks.mark_circle(size=70, opacity=1)
        frame = frame.mark_point(size=200, style=FRAME, strokeWidth=3)
    layers = [marks.encode(*place, color=color, tooltip=tooltip_of(result)), frame.encode(*place)]
    if len(diverged):
        layers.append(_crosses(diverged).encode(*place, tooltip=tooltip_of(result, "objective")))
        notes.append(f"Crosses: {len(diverged)} of {len(settings)} {'cells' if is_grid else 'settings'} diverge")
    return layers, notes, Cells(settings, place, is_grid)


class Cells(NamedTuple):
    """What a heat map shows: the best setting in each cell, or every setting where they are no grid."""

    settings: Table
    place: tuple[alt.X, alt.Y]
    is_grid: bool


def learning_curves(
    table: pd.DataFrame, summary: pd.DataFrame, result: Sensitivity, *, best: int = 5
) -> alt.LayerChart:
    """The objective after each epoch, of all settings, with the best ones in colour.

    Args:
        table: One row a setting, seed and epoch.
        summary: One row a setting.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.
        best: How many are in colour, 1 to 5.
    """
    settings = settings_of(None, summary, result)
    drawn = thinned(settings, MOST_BEHIND)
    ranked = parted(settings)[0].sort_values("sort").head(best)
    others = drawn[~drawn["setting"].isin(ranked["setting"])]
    drawn = pd.concat([ranked, others])
    curves, means = curves_of(table, drawn, result)
    names = {row["setting"]: f"{i}. {label(row, varied(result))}" for i, (_, row) in enumerate(ranked.iterrows(), 1)}
    curves["best"] = curves["setting"].map(names)
    behind = curves[curves["best"].isna()]
    if len(drawn) > _FEW:
        behind, _ = curves_of(table, others, result, MOST_POINTS_BEHIND)

    x, y = curve_axes(means, result)
    grey, colored = (
        alt.Chart(rows).transform_flatten(["epoch", "objective"]) for rows in (behind, curves[curves["best"].notna()])
    )
    color = alt.Color(
        "best:N",
        title=f"the {len(ranked)} best settings",
        scale=alt.Scale(domain=list(names.values())),
        legend=alt.Legend(orient="bottom", direction="vertical", columns=1, labelLimit=WIDTH, symbolStrokeWidth=3),
    )
    # Neither opacity nor clipping: they take ten times as long to draw.
    if len(drawn) <= _FEW:
        thin = grey.mark_line(style=FAINT, strokeWidth=0.8)
        thin = thin.encode(x, y, detail="setting:N", tooltip=tooltip_of(result, "objective"))
    else:
        thin = as_one_line(grey, style=FAINT, strokeWidth=0.4).encode(x, y)
    layers = [thin, colored.mark_line(strokeWidth=2.5).encode(x, y, color=color, tooltip="best:N")]
    ends = means.groupby("setting").last()
    ends = ends[ends["epoch"] < table["epoch"].max()]
    if len(ends):  # dots, for those that end after the first epoch have no line
        layers.insert(1, alt.Chart(ends).mark_circle(style=OTHERS, size=12, opacity=1).encode(x, y))
    how_many = f"all {len(settings)}" if len(drawn) == len(settings) else f"{len(drawn)} of {len(settings)}"
    seeds = len(table["seed"].unique())
    notes = [f"Grey: {how_many} settings" + (f", each the mean of {seeds} seeds" if seeds > 1 else "")]
    if len(ends):
        notes.append("A line ends in a dot where its setting was stopped early or diverged")
    return finished(alt.layer(*layers), f"{metric_of(result)}, epoch by epoch", notes)


def importance(result: Sensitivity) -> alt.LayerChart:
    """The share of the variance among settings that each hyperparameter explains, and that two explain together.

    Args:
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says, with importances.
    """
    alone, together = "one hyperparameter alone", "two together, beyond each alone"
    ranges = result.interaction_ranges
    bars: Table = pd.DataFrame(
        [(one.name, alone, one.importance, *(one.importance_range or (np.nan, np.nan))) for one in result.effects]
        + [(f"{a} × {b}", together, share, *ranges[a, b]) for (a, b), share in result.interactions.items()],
        columns=["what", "kind", "share", "low", "high"],
    )
    bars["end"] = bars[["share", "high"]].max(axis=1)
    bars = bars[(bars["kind"] == alone) | (bars["share"] >= 0.005)]
    bars = bars.sort_values("share", ascending=False).head(MOST_BARS)
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=[alone, together]),
        legend=alt.Legend(orient="bottom", direction="vertical", columns=1, labelLimit=WIDTH),
    )
    base = alt.Chart(bars).encode(
        alt.X(
            "share:Q",
            title="share of the variance",
            axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], grid=False),
            scale=alt.Scale(domain=[0, 1.15]),  # room for the figure behind a bar
        ),
        alt.Y("what:N", title=None, sort=None, axis=alt.Axis(labelLimit=240, ticks=False, domain=False)),
    )
    labels = base.mark_text(align="left", dx=4, fontSize=12).encode(
        alt.X("end:Q"), text=alt.Text("share:Q", format=".1%")
    )
    sure = base.mark_rule(style=OTHERS, strokeWidth=2).encode(alt.X("low:Q"), alt.X2("high:Q"))
    chart = alt.layer(base.mark_bar().encode(color=color), sure, labels)
    notes = ["Functional ANOVA of the settings' ranks; a line is where a share lies with a chance of 90 %"]
    return finished(chart, f"How much of the differences in {metric_of(result)} each explains", notes, 28 * len(bars))


def budget(summary: pd.DataFrame, result: Sensitivity) -> alt.LayerChart:
    """How good the best of k settings would have been, drawn at random from those that were trained.

    Args:
        summary: One row a setting, all trained as long.
        result: What `adamkit.lab.insight.sensitivity.sensitivity` says of `summary`.
    """
    settings = settings_of(None, summary, result)
    counts = np.unique(np.geomspace(1, len(settings), 40).astype(int))
    rows = [(k, *best_of(settings["sort"], k, (0.1, 0.5, 0.9))) for k in counts.tolist()]
    sign = -1 if is_large_good(result) else 1
    drawn: Table = pd.DataFrame(rows, columns=["k", "low", "median", "high"])
    drawn[["low", "median", "high"]] *= sign
    # Where the settings that diverge are so many that the best of few may be one of them, the band has no end.
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    kind = objective_scale(drawn[["low", "high"]].to_numpy(), result)
    place: Any = {"title": f"best {metric_of(result)}", "scale": value_scale(kind, padding=8), "axis": value_axis(kind)}
    log = alt.Scale(type="log", nice=False)
    ticks = alt.Axis(values=[2**i for i in range(len(settings).bit_length())], format="~d")
    base = alt.Chart(drawn).encode(alt.X("k:Q", title="settings tried, k (log scale)", scale=log, axis=ticks))
    y = alt.Y("median:Q", **place)
    tips = [alt.Tooltip("k:Q"), *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("median", "low", "high"))]
    chart = alt.layer(
        base.mark_area(opacity=0.25, style=BEST).encode(alt.Y("low:Q", **place), alt.Y2("high:Q")),
        base.mark_line(style=BEST, strokeWidth=2.5, point=alt.OverlayMarkDef(style=BEST)).encode(y, tooltip=tips),
    )
    notes = ["Line: in half of all draws of k of these settings the best is at least so good. Band: from 10 to 90 %"]
    return finished(chart, "What trying more settings brings", notes)


def _shade(effect: Effect, settings: Table) -> list[alt.Chart]:
    """The good range, as a rectangle behind the rest; nothing for a flag."""
    known = HYPERPARAMETERS[effect.name]
    if known.kind == "flag":
        return []
    x = hyperparameter_axis(effect.name, settings[effect.name])
    low, high = (1 - end if known.is_decay else end for end in (effect.low, effect.high))
    band = alt.Chart(pd.DataFrame({x["field"]: [low], "end": [high]}))
    return [band.mark_rect(color=GREEN, opacity=0.16).encode(alt.X(**x), x2="end:Q")]


def _crosses(diverged: Table) -> alt.Chart:
    marks = alt.Chart(thinned(diverged))
    return marks.mark_point(shape="cross", angle=45, filled=True, color=VERMILLION, size=70, opacity=0.8)
