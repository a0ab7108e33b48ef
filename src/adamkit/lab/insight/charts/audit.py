"""The chart of an audit: the settings of Adam in their order, and where the untuned optimizers stand among them."""

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from adamkit.lab.insight.charts.theme import FAINT, finished, scale_type

if TYPE_CHECKING:
    from adamkit.lab.comparing.audited import Audit

Table = Any  # a pandas.DataFrame, whose columns no type checker follows
_SHAPES = ("diamond", "circle", "triangle-up", "square", "cross", "triangle-down")
_MOST = 4000  # points of all lines


def charts_of(audit: "Audit") -> dict[str, Any]:
    """`"grid"`, of an audit whose grid is finished; else there is none."""
    return {"grid": grid(audit)} if len(audit.summary) else {}


def grid(audit: "Audit") -> Any:
    """What the settings of the grid reach, a line a seed, the best on the left; optimizers' runs on these lines."""
    sign = -1.0 if audit.is_large_good else 1.0
    column = f"test_{audit.metric}"
    worst = sign * audit.described["start"][column]  # what is no better than the untrained model is drawn as that
    reached = np.sort(np.minimum(audit.grid(column).to_numpy(), worst), axis=0)
    places, seeds = 100 * (np.arange(len(reached)) + 0.5) / len(reached), audit.grid(column).columns
    drawn = np.unique(np.linspace(0, len(reached) - 1, max(_MOST // len(seeds), 2)).astype(int))
    curves = [
        pd.DataFrame({"seed": seed, "percentile": places[drawn], "reached": sign * reached[drawn, i]})
        for i, seed in enumerate(seeds)
    ]
    lines: Table = pd.concat(curves)
    ends: Table = audit.by_seed[["optimizer", "seed", "percentile", column]].rename(columns={column: "reached"})
    ends = ends.assign(reached=sign * np.fmin((sign * ends.reached).fillna(worst), worst))
    title = f"test {audit.metric}"
    kind = scale_type(lines.reached, is_large_good=audit.is_large_good)
    x = alt.X("percentile:Q", title="percentile among the settings", scale=alt.Scale(domain=[0, 100]))
    y = alt.Y("reached:Q", title=title, scale=alt.Scale(type=kind, zero=False, nice=False, padding=10))
    names = audit.summary.optimizer.tolist()
    base: Any = alt.Chart(lines)
    grey = base.mark_line(style=FAINT, strokeWidth=1.5).encode(x, y, detail="seed:N")
    marks: Any = alt.Chart(ends)
    legend = alt.Legend(title=None, orient="bottom", columns=5)
    shapes = [_SHAPES[i % len(_SHAPES)] for i in range(len(names))]
    points = marks.mark_point(filled=True, size=90, opacity=0.9).encode(
        x, y, color=alt.Color("optimizer:N", title=None, scale=alt.Scale(domain=names), legend=legend),
        shape=alt.Shape("optimizer:N", title=None, scale=alt.Scale(domain=names, range=shapes)),
        tooltip=["optimizer", "seed", "percentile", "reached"],
    )  # fmt: skip
    notes = [
        f"Grey: {len(reached)} settings of Adam, the best on the left, a line a seed. Marks: an untuned optimizer's "
        "run with that seed",
        "Tuned adam: the setting that is best on the validation part. What ends worse than the untrained model is "
        "drawn as that",
    ]
    return finished(alt.layer(grey, points), f"Untuned among {len(reached)} settings of Adam", notes)
