"""The chart of a learning-rate range test."""

import math

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.insight.charts.theme import BEST, GREEN, OTHERS, finished


def loss_by_learning_rate(history: pd.DataFrame, suggested: float | None, smallest: float) -> alt.LayerChart:
    """The loss while the learning rate rises, with the suggestion.

    Args:
        history: One row a step: `learning_rate`, `loss`, `smoothed`; see `adamkit.lab.sweeping.learning_rate_range`.
        suggested: The learning rate to try, if there is one.
        smallest: The one at which the smoothed loss is smallest.
    """
    history = history.loc[np.isfinite(history["loss"])]
    before = history.loc[history["learning_rate"] <= smallest, "loss"]
    low, high = float(np.min(history["loss"])), float(np.max(before))
    scale = alt.Scale(domain=[low, high + 0.25 * (high - low)], clamp=True, nice=False)  # where it diverges it is cut
    log = alt.Scale(type="log", nice=False)
    ends = np.log10([history["learning_rate"].min(), history["learning_rate"].max()])
    ticks = alt.Axis(values=[float(f"1e{k}") for k in range(math.ceil(ends[0]), math.floor(ends[1]) + 1)], format="~e")
    x = alt.X("learning_rate:Q", title="learning rate (log scale)", scale=log, axis=ticks)
    tooltip = [alt.Tooltip(column, format=".3~g") for column in ("learning_rate:Q", "loss:Q", "smoothed:Q")]
    base = alt.Chart(history).encode(x)
    dots = base.mark_circle(style=OTHERS, opacity=0.5, size=22)
    layers = [
        dots.encode(alt.Y("loss:Q", title="loss", scale=scale), tooltip=tooltip),
        base.mark_line(style=BEST, strokeWidth=2.5).encode(alt.Y("smoothed:Q", title="loss", scale=scale)),
    ]
    notes = ["Grey: the loss of each step's batch. Blue: smoothed"]
    if suggested is not None:
        rule_at = alt.Chart(pd.DataFrame({"learning_rate": [suggested]}))
        layers.append(rule_at.mark_rule(color=GREEN, strokeWidth=2.5).encode(x))
        notes.append(f"Green: suggested, {suggested:.2g}, a tenth of where the loss is smallest")
    return finished(alt.layer(*layers), "loss while the learning rate rises", notes)
