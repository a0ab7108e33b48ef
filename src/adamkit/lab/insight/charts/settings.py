"""What the charts of a sweep draw: its settings as a table, and what all of them say alike."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.charts.theme import column_of, digits, scale_type, value_axis, value_scale
from adamkit.lab.insight.sensitivity import Sensitivity, shown

MOST_MARKS = 1500  # settings in one layer; Altair takes 5000 rows in a chart
MOST_CURVES = 500  # more cannot be told apart
MOST_POINTS = 100  # of one of them
MOST_BEHIND = 200  # faint lines behind those in colour: as much of a cloud as 500, and drawn in a third of the time
MOST_POINTS_BEHIND = 25

Table = Any  # a pandas.DataFrame, whose columns no type checker follows


def settings_of(table: Table | None, summary: Table, result: Sensitivity) -> Table:
    """One row a setting with what is drawn of it.

    `objective` is the metric itself; `sort` is small where it is good and inf where it diverges; `low` and `high` are
    the metric's spread over seeds (with a table).
    """
    sign = -1 if is_large_good(result) else 1
    settings = summary[["setting", *varied(result), "mean"]].reset_index(drop=True)
    settings["diverges"] = ((summary["diverged"] > 0) | ~np.isfinite(summary["mean"])).to_numpy()
    settings["sort"] = settings["mean"].where(~settings["diverges"], np.inf)
    settings["objective"] = (sign * settings["mean"]).where(~settings["diverges"])
    if table is not None:
        last = table.sort_values("epoch").groupby(["setting", "seed"])[metric_of(result)].last()
        settings = settings.merge(last.groupby("setting").agg(low="min", high="max"), on="setting")
    for name in varied(result):
        if HYPERPARAMETERS[name].is_decay:
            settings[column_of(name)] = 1 - settings[name]
    return settings


def parted(settings: Table) -> tuple[Table, Table]:
    """The settings that end with a number, and those that diverge."""
    return settings[~settings["diverges"]], settings[settings["diverges"]]


def thinned(settings: Table, most: int = MOST_MARKS) -> Table:
    """At most so many settings, from the best to the worst of them in even steps."""
    ranked = settings.sort_values("sort")
    return ranked if len(ranked) <= most else ranked.iloc[np.linspace(0, len(ranked) - 1, most).astype(int)]


def objective_scale(values: Any, result: Sensitivity) -> Literal["log", "linear"]:
    """The kind of scale that values of the objective are drawn on."""
    return scale_type(values, is_large_good=is_large_good(result))


def is_large_good(result: Sensitivity) -> bool:
    """Whether the objective is one that is to be large."""
    return result.objective.startswith("-")


def metric_of(result: Sensitivity) -> str:
    """The name of the objective, without the minus."""
    return result.objective.removeprefix("-")


def varied(result: Sensitivity) -> list[str]:
    """The hyperparameters that have more than one value."""
    return [effect.name for effect in result.effects]


def influence(name: str, result: Sensitivity) -> float:
    """What a hyperparameter explains alone, and with another."""
    alone = sum(effect.importance or 0 for effect in result.effects if effect.name == name)
    return alone + sum(share for pair, share in result.interactions.items() if name in pair)


def label(setting: Any, names: Sequence[str]) -> str:
    """Some hyperparameters of a setting in words."""
    return ", ".join(f"{name} {shown(name, setting[name])}" for name in names)


def most_influential(result: Sensitivity) -> list[str]:
    """The hyperparameters that were varied, those that matter most first."""
    return sorted(varied(result), key=lambda name: -influence(name, result))


def tooltip_of(result: Sensitivity, *without: str) -> list[alt.Tooltip]:
    """What the pointer shows of a setting: its hyperparameters and the objective."""
    tips = []
    for name in varied(result):
        if HYPERPARAMETERS[name].kind == "flag":
            tips.append(alt.Tooltip(f"{name}:N"))
        else:
            tips.append(alt.Tooltip(f"{name}:Q", format=".6~g" if HYPERPARAMETERS[name].is_decay else digits(name)))
    tips.append(alt.Tooltip("objective:Q", title=metric_of(result), format=".4~g"))
    return [tip for tip in tips if tip.to_dict()["field"] not in without]


def curves_of(table: Table, drawn: Table, result: Sensitivity, most_points: int = MOST_POINTS) -> tuple[Table, Table]:
    """The learning curves of some settings.

    Args:
        table: One row a setting, seed and epoch.
        drawn: The settings.
        result: The sensitivity.
        most_points: Of a curve, but for its last one.

    Returns:
        A row a setting, with its hyperparameters and lists `epoch` and `objective` (mean over seeds, where finite), to
        be unfolded by the page, which is smaller than a row an epoch and within the rows that Altair takes; and the
        same in a row a setting and epoch. Of very many epochs a part is in it, the first and the last among them. The
        lists end with an objective of None, at which a line breaks: see `as_one_line`.
    """
    epochs = np.unique(table["epoch"])
    if len(epochs) > most_points:
        epochs = epochs[np.unique(np.linspace(0, len(epochs) - 1, most_points).astype(int))]
    last = table.groupby("setting")["epoch"].transform("max")
    rows: Table = table[
        table["setting"].isin(drawn["setting"]) & (table["epoch"].isin(epochs) | (table["epoch"] == last))
    ]
    means = rows.groupby(["setting", "epoch"])[metric_of(result)].mean()
    means = means[np.isfinite(means)].rename("objective").reset_index()
    numbers, first = np.unique(means["setting"], return_index=True)
    columns = {name: np.split(means[name].to_numpy(), first[1:]) for name in ("epoch", "objective")}
    lists = {
        "epoch": [[*part.tolist(), part[-1].item()] for part in columns["epoch"]],
        "objective": [[*part.tolist(), None] for part in columns["objective"]],
    }
    curves: Table = pd.DataFrame({"setting": numbers} | lists)
    return curves.merge(drawn[["setting", *varied(result)]], on="setting"), means


def as_one_line(chart: Any, **look: Any) -> alt.Chart:
    """All curves as one line that breaks between them, in the order of the data.

    Vega makes a group of its own for each of several lines, which takes ten times as long.
    """
    return chart.mark_line(order=False, **look)


def curve_axes(means: Table, result: Sensitivity) -> tuple[alt.X, alt.Y]:
    """The epoch, and the objective on a scale that one wild setting does not flatten.

    What is worse than 98 % of all values is drawn at the edge.
    """
    domain = means["objective"].quantile([0.02, 1] if is_large_good(result) else [0, 0.98]).tolist()
    kind = objective_scale(pd.Series(domain), result)
    scale = value_scale(kind, domain=domain, clamp=True)
    epoch = alt.Axis(tickMinStep=1, format="d")
    x = alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False, zero=False), axis=epoch)
    return x, alt.Y("objective:Q", title=f"{metric_of(result)} after the epoch", scale=scale, axis=value_axis(kind))
