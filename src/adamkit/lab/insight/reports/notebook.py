"""How a result shows itself in a notebook: a heading, a table and a chart, as HTML that needs no network and no script.

A result's class has two methods, which call these:

    def _repr_html_(self): return notebook.html(heading, table, chart)
    def _repr_mimebundle_(self, include=None, exclude=None): return notebook.bundle(self)
"""

import base64
import html as html_module
from typing import Any

import pandas as pd

from adamkit.lab.insight.charts import theme
from adamkit.lab.insight.reports.page import table as table_of

_MOST_ROWS = 12
_STYLE = (
    "<style>.adamkit th, .adamkit td { padding: 0.15rem 0.6rem; text-align: left; } "
    ".adamkit .number { text-align: right; } .adamkit .scroll { overflow-x: auto; }</style>"
)


def html(heading: str, rows: pd.DataFrame, chart: Any | None) -> str:
    """A heading, a table and a chart as a picture.

    Args:
        heading: In a line.
        rows: Of the table, the first 12 of which are shown.
        chart: An Altair chart; None where there is nothing to draw.
    """
    more = f"<p>{len(rows) - _MOST_ROWS:,} more rows</p>" if len(rows) > _MOST_ROWS else ""
    shown = table_of(rows.head(_MOST_ROWS))
    heading = html_module.escape(heading)
    return f'<div class="adamkit">{_STYLE}<p><strong>{heading}</strong></p>\n{shown}\n{more}{_picture(chart)}</div>'


def bundle(result: Any) -> dict[str, str]:
    """What a notebook may show of a result: HTML, or text where it cannot."""
    return {"text/html": result._repr_html_(), "text/plain": repr(result)}


def _picture(chart: Any | None) -> str:
    if chart is None:
        return ""
    import vl_convert

    # As an image, so that nothing in it meets what the notebook's own page names alike; in the reader's look.
    light, dark = (
        "data:image/svg+xml;base64," + base64.b64encode(vl_convert.vegalite_to_svg(spec).encode()).decode()
        for spec in (chart.to_dict(), chart.configure(**theme.config(dark=True)).to_dict())
    )
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<picture>{source}<img alt="chart" style="max-width: 100%" src="{light}"></picture>'
