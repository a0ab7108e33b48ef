"""Charts of one training run: loss and metrics over its epochs."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.insight.charts.theme import FRAME, OTHERS, finished, scale_type, value_axis, value_scale

MOST_EPOCHS = 1000  # points of a line; more cannot be told apart
TRAINING, VALIDATION = "training", "validation"


def charts_of(history: pd.DataFrame) -> dict[str, alt.LayerChart]:
    """A chart of the loss and of each metric over the epochs, on the training and the validation data.

    Args:
        history: One row an epoch: `epoch`, `loss` and metrics, and the same with `val_`; see `adamkit.lab.train`.

    Returns:
        By name of the loss or metric. One that is never finite has none.
    """
    columns = [str(name) for name in history.columns if name not in ("epoch", "seconds")]
    names = [name for name in columns if not (name.startswith("val_") and name[4:] in columns)]
    return {name: over_epochs(name, history) for name in names if _is_drawable(name, history)}


def over_epochs(name: str, history: pd.DataFrame) -> alt.LayerChart:
    """The loss or a metric after each epoch, on the training data and, where there is some, the validation data.

    Args:
        name: Of the column; the validation data's has `val_` before it.
        history: One row an epoch.
    """
    parts: dict[str, Any] = {TRAINING: history[name]}
    if f"val_{name}" in history:
        parts[VALIDATION] = history[f"val_{name}"]
    # Columns have names of ours: those of metrics may hold what Vega reads as a path.
    wide: Any = pd.DataFrame({"epoch": history["epoch"]} | parts)
    wide = wide.mask(~np.isfinite(wide.astype(float)))
    notes = []
    wrong = int(wide[list(parts)].isna().any(axis=1).sum())
    if wrong:
        notes.append(f"Not finite, and not drawn, in {wrong} of {len(wide)} epochs")
    if len(wide) > MOST_EPOCHS:
        wide = wide.iloc[np.unique(np.linspace(0, len(wide) - 1, MOST_EPOCHS).astype(int))]
        notes.append(f"{len(wide):,} of {len(history):,} epochs are drawn")
    long = wide.melt("epoch", var_name="part", value_name="value").dropna()

    x = alt.X("epoch:Q", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickMinStep=1, format="d"))
    kind = scale_type(long["value"], is_large_good="loss" not in name)
    y = alt.Y("value:Q", title=name, scale=value_scale(kind, padding=8), axis=value_axis(kind))
    legend = alt.Legend(orient="bottom", symbolStrokeWidth=3) if len(parts) > 1 else None
    color = alt.Color("part:N", title=None, scale=alt.Scale(domain=list(parts)), legend=legend)
    marks: Any = alt.Chart(long).mark_line(point=len(wide) <= 2, strokeWidth=2.5)
    layers = [marks.encode(x, y, color)]
    if "loss" in name:
        last = list(parts)[-1]
        best = long.loc[[long.loc[long["part"] == last, "value"].idxmin()]]
        layers.append(alt.Chart(best).mark_point(style=FRAME, size=130, strokeWidth=2.5).encode(x, y))
        epoch, value = int(best["epoch"].iloc[0]), best["value"].iloc[0]
        on = f" on the {last} data" if len(parts) > 1 else ""
        notes.insert(0, f"Ring: the smallest{on}, {value:.4g} after epoch {epoch}")
    under = alt.selection_point(
        name=f"epoch_{_word(name)}", fields=["epoch"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    tooltip = [alt.Tooltip("epoch:Q"), *(alt.Tooltip(f"{part}:Q", format=".5~g") for part in parts)]
    hover = alt.Chart(wide).mark_rule(style=OTHERS).encode(x, tooltip=tooltip)
    layers.append(hover.encode(opacity=alt.condition(under, alt.value(1), alt.value(0))).add_params(under))
    return finished(alt.layer(*layers), f"{name} after each epoch", notes)


def _is_drawable(name: str, history: pd.DataFrame) -> bool:
    columns = [column for column in (name, f"val_{name}") if column in history]
    return bool(np.isfinite(history[columns].to_numpy(float)).any())


def _word(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
