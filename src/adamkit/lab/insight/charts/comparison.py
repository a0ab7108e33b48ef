"""Charts of a comparison of optimizers.

Seven colours are as many as can be told apart; beyond them, lines are dashed and points have another shape.
"""

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.insight.charts.theme import COLORS, OTHERS, SHORT, WIDTH, decades, finished, scale_type

if TYPE_CHECKING:
    from adamkit.lab.comparing.result import Comparison

Table = Any  # a pandas.DataFrame, whose columns no type checker follows
MOST_IN_MATRIX = 16  # optimizers
_ROW = 30  # pixels that an optimizer has where they stand below each other
_BINS = 4  # a decade of learning rates
_DASHES, _SHAPES = ([1, 0], [5, 3], [1, 2]), ("circle", "triangle-up", "square")


def charts_of(comparison: "Comparison") -> dict[str, Any]:
    """All charts of a comparison.

    Args:
        comparison: With at least one optimizer that was repeated; else there are none.

    Returns:
        By name: `"budget"`, the expected best over the budget; `"learning_rates"`, the best at each; `"curves"`, those
        of the best settings; `"gap"`, training and test loss; and, of two or more, `"chances"`, who beats whom.
    """
    if not comparison.optimizers:
        return {}
    charts = {
        "budget": budget(comparison),
        "learning_rates": learning_rates(comparison),
        "curves": curves(comparison),
        "gap": gap(comparison),
    }
    return charts | ({"chances": chances(comparison)} if len(comparison.optimizers) > 1 else {})


def budget(comparison: "Comparison") -> Any:
    """What the best of k settings is expected to reach on the test part, with its band."""
    own: Table = comparison.expected_best
    rows = own.loc[own.metric == comparison.metric].assign(
        budget=lambda table: table.budget.astype(str), reached=lambda table: table["value"]
    )
    rows = rows.drop(columns=["value", "metric"])
    title = f"test {comparison.metric}"
    order = [str(k) for k in sorted(map(int, rows.budget.unique()))]
    kind = scale_type(rows[["low", "high"]].to_numpy(), is_large_good=comparison.is_large_good)
    scale = alt.Scale(type=kind, zero=False, nice=False, padding=10)
    x = alt.X("budget:O", title="settings that are tried", sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("optimizer:N", sort=_order(comparison), scale=alt.Scale(padding=0.3))
    base: Any = alt.Chart(rows).encode(x, offset, color=_color(comparison))
    bands = base.mark_rule(strokeWidth=2, opacity=0.55).encode(alt.Y("low:Q", title=title, scale=scale), y2="high:Q")
    points = base.mark_point(filled=True, size=46, opacity=1).encode(
        alt.Y("reached:Q", title=title, scale=scale), shape=_shape(comparison),
        tooltip=["optimizer", "budget", "reached", "low", "high"],
    )  # fmt: skip
    notes = [
        f"Expected over all draws of so many of the {comparison.described['budget']} settings of each, chosen on the "
        "validation part",
        "Bars: 95 % of resamples of seeds and settings",
    ]
    return finished(alt.layer(bands, points), f"Best {title} by budget", notes)


def learning_rates(comparison: "Comparison") -> Any:
    """The best setting at each learning rate, whatever the other hyperparameters are there."""
    metric, sign = f"val_{comparison.metric}", -1 if comparison.is_large_good else 1
    runs: Table = comparison.runs
    search = runs.loc[(runs.stage == "search") & runs.optimizer.isin(comparison.optimizers)].copy()
    start = comparison.described["start"][metric]
    # What is no better than the untrained model is drawn as that: how much worse does not matter.
    search["reached"] = sign * np.fmin(sign * search[metric].fillna(start), sign * start)
    search["bin"] = np.floor(np.log10(search.learning_rate) * _BINS)
    ranked = search.assign(key=sign * search.reached).sort_values("key", kind="stable")
    best = ranked.groupby(["optimizer", "bin"]).first().reset_index()[["optimizer", "learning_rate", "reached"]]
    scale = alt.Scale(
        type=scale_type(best.reached, is_large_good=comparison.is_large_good), zero=False, nice=False, padding=10
    )
    x = alt.X(
        "learning_rate:Q", title="learning rate (log scale)", scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=decades(best.learning_rate.to_numpy()), format=SHORT),
    )  # fmt: skip
    y = alt.Y("reached:Q", title=f"validation {comparison.metric}", scale=scale)
    base: Any = alt.Chart(best)
    lines = base.mark_line(strokeWidth=2).encode(x, y, color=_color(comparison), strokeDash=_dash(comparison))
    points = base.mark_point(filled=True, size=30, opacity=1).encode(
        x, y, color=_color(comparison), tooltip=["optimizer", "learning_rate", "reached"]
    )
    level = alt.Chart(pd.DataFrame({"start": [start]})).mark_rule(style=OTHERS, strokeDash=[4, 4])
    notes = [
        f"The best setting in each of {_BINS} parts of a decade, in the search",
        "Dashed across: the untrained model, which a run that ends worse counts as",
    ]
    return finished(
        alt.layer(level.encode(alt.Y("start:Q", title=f"validation {comparison.metric}", scale=scale)), lines, points),
        "Where each optimizer's learning rate lives", notes,
    )  # fmt: skip


def curves(comparison: "Comparison") -> Any:
    """The objective on the validation part after each epoch, of the best settings."""
    metric = f"val_{comparison.metric}"
    tables = []
    for name in comparison.optimizers:
        own: Table = comparison.best_runs(name).groupby("epoch")[metric]
        means = pd.DataFrame({"reached": own.mean(), "low": own.min(), "high": own.max()}).reset_index()
        tables.append(means.assign(optimizer=name))
    rows: Table = pd.concat(tables, ignore_index=True)
    rows = rows.loc[np.isfinite(rows.reached)]
    title = f"validation {comparison.metric}"
    scale = alt.Scale(
        type=scale_type(rows.reached, is_large_good=comparison.is_large_good), zero=False, nice=False, padding=10
    )
    x = alt.X("epoch:Q", scale=alt.Scale(nice=False, zero=False, padding=10), axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("reached:Q", title=title, scale=scale)
    base: Any = alt.Chart(rows)
    lines = base.mark_line(strokeWidth=2.5).encode(x, y, color=_color(comparison), strokeDash=_dash(comparison))
    points = base.mark_point(filled=True, size=24, opacity=1).encode(
        x, y, color=_color(comparison), tooltip=["optimizer", "epoch", "reached", "low", "high"]
    )
    goal = alt.Chart(pd.DataFrame({"goal": [comparison.goal]})).mark_rule(style=OTHERS, strokeDash=[4, 4])
    notes = [
        f"Each line: the mean of {comparison.described['seeds']} seeds of the best setting. Dashed across: the goal "
        f"that epochs are counted to, {comparison.goal:.4g}",
    ]
    across = goal.encode(alt.Y("goal:Q", title=title, scale=scale))
    return finished(alt.layer(across, lines, points), f"The best settings' {title}, epoch by epoch", notes)


def gap(comparison: "Comparison") -> Any:
    """Training and test loss of the best settings, and the validation loss at equal training loss."""
    summary: Table = comparison.summary
    kinds = {
        "training loss": summary["loss"],
        "test loss": summary["test_loss"],
        "validation loss at equal training loss": summary["at_equal_loss"],
    }
    long = pd.concat(
        [pd.DataFrame({"optimizer": summary.optimizer, "kind": k, "reached": v}) for k, v in kinds.items()]
    )
    long = long.loc[np.isfinite(long.reached)]
    kind = scale_type(long.reached)
    x = alt.X(
        "reached:Q", title="loss", axis=alt.Axis(tickCount=6),
        scale=alt.Scale(type=kind, zero=False, nice=False, padding=14),
    )  # fmt: skip
    y = alt.Y("optimizer:N", title=None, sort=_order(comparison), axis=alt.Axis(labelLimit=200))
    spans: Any = alt.Chart(
        summary[["optimizer", "loss", "test_loss"]].rename(columns={"loss": "training", "test_loss": "test"})
    )
    bars = spans.mark_rule(style=OTHERS, strokeWidth=2).encode(
        alt.X("training:Q", title="loss", scale=alt.Scale(type=kind, zero=False, nice=False, padding=14)),
        y,
        x2="test:Q",
    )
    domain = list(kinds)
    legend = alt.Legend(orient="bottom", title=None, columns=1, labelLimit=WIDTH)
    marks: Any = alt.Chart(long)
    points = marks.mark_point(filled=True, size=80, opacity=1).encode(
        x, y,
        color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=domain), legend=legend),
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=domain, range=["circle", "circle", "diamond"])),
        tooltip=["optimizer", "kind", "reached"],
    )  # fmt: skip
    notes = [
        "The best settings, means over seeds. The training loss is that of the last epoch's batches",
        f"Equal training loss: {comparison.equal_loss:.4g}, the smallest that every optimizer reaches",
    ]
    return finished(alt.layer(bars, points), "How well each generalizes", notes, _ROW * len(summary))


def chances(comparison: "Comparison") -> Any:
    """How likely each optimizer beats each other one, both tuned with the whole budget."""
    rows: Table = comparison.chances
    rows = rows.loc[rows.budget == rows.budget.max(), ["optimizer", "other", "chance"]]
    names = _order(comparison)[:MOST_IN_MATRIX]
    rows = rows.loc[rows.optimizer.isin(names) & rows.other.isin(names)]
    place = (
        alt.X(
            "other:N", title="… this one", sort=names, axis=alt.Axis(labelAngle=-45, labelLimit=140, labelOverlap=False)
        ),
        alt.Y("optimizer:N", title="this one beats …", sort=names, axis=alt.Axis(labelLimit=200)),
    )
    base: Any = alt.Chart(rows)
    color = alt.Color(
        "chance:Q", title="chance", scale=alt.Scale(scheme="blueorange", reverse=True, domain=[0, 1]),
        legend=alt.Legend(format=".0%", gradientLength=160),
    )  # fmt: skip
    cells = base.mark_rect().encode(*place, color=color, tooltip=["optimizer", "other", "chance"])
    text = base.mark_text(fontSize=12).encode(
        *place, text=alt.Text("chance:Q", format=".0%"),
        color=alt.condition("datum.chance < 0.12 || datum.chance > 0.88", alt.value("white"), alt.value("#1f2328")),
    )  # fmt: skip
    notes = [f"Of one run each, the same seed for both, after {comparison.described['budget']} settings each"]
    return finished(alt.layer(cells, text), "The chance that one beats another", notes, _ROW * len(names))


def _order(comparison: "Comparison") -> list[str]:
    """The best optimizer first."""
    return comparison.summary.optimizer.tolist()


def _color(comparison: "Comparison") -> alt.Color:
    legend = alt.Legend(title=None, orient="bottom", columns=5, symbolStrokeWidth=3)
    return alt.Color("optimizer:N", title=None, scale=alt.Scale(domain=_order(comparison)), legend=legend)


def _dash(comparison: "Comparison") -> alt.StrokeDash:
    names = _order(comparison)
    dashes = [_DASHES[i // len(COLORS) % len(_DASHES)] for i in range(len(names))]
    return alt.StrokeDash("optimizer:N", title=None, scale=alt.Scale(domain=names, range=dashes))


def _shape(comparison: "Comparison") -> alt.Shape:
    names = _order(comparison)
    shapes = [_SHAPES[i // len(COLORS) % len(_SHAPES)] for i in range(len(names))]
    return alt.Shape("optimizer:N", title=None, scale=alt.Scale(domain=names, range=shapes))
