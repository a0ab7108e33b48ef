"""One HTML page of text, tables and charts in a single file that needs no network.

The page has its text, so that it can be read and printed without scripts; charts are drawn by Vega, which is in the
file (`charts/vega.py`), with `page.js`. A chart's title and notes become text, so that they wrap on a phone, and its
look is that of the reader: light or dark, and as wide as there is room.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from adamkit.lab.insight.charts import theme, vega

_DIGITS = 9  # significant ones of numbers in the page: as many as float32 has
_DIGITS_OF_CURVES = 5
# Nothing may be loaded, whatever a chart's data say; Vega compiles its expressions, hence 'unsafe-eval'.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass(frozen=True)
class Section:
    """A part of a page. All text is plain: what looks like HTML in it is shown as it is.

    Args:
        title: Its heading.
        paragraphs: Sentences.
        charts: Altair charts by name, `theme.finished`; one that is wide stands alone in its row.
        table: Shown as it is; the index is not.
        code: A command.
        folded: Whether the reader has to open it.
    """

    title: str
    paragraphs: Sequence[str] = ()
    charts: Mapping[str, Any] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    code: str | None = None
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: What it is of.
        summary: Sentences below the title.
        facts: Figures by name, that stand out.
        sections: In their order.
        warning: What the reader must know first, such as that the run was cut off; None for nothing.
    """

    title: str
    summary: Sequence[str]
    facts: Mapping[str, str]
    sections: Sequence[Section]
    warning: str | None = None

    @property
    def charts(self) -> dict[str, Any]:
        """All charts by name."""
        return {name: chart for section in self.sections for name, chart in section.charts.items()}

    def html(self) -> str:
        """The file's text."""
        here = Path(__file__)
        figures, data = _Figures(), here.with_name("page.css").read_text(encoding="utf-8")
        body = "\n".join(_section(section, figures) for section in self.sections)
        looks = {"light": theme.config(), "dark": theme.config(dark=True)}
        facts = "".join(
            f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in self.facts.items()
        )
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_text(self.title)}</title>
<style>
{data}</style>
</head>
<body>
<header>
<button type="button" id="look" aria-label="Light or dark" title="Light or dark">◐</button>
<h1>{_text(self.title)}</h1>
{_paragraphs(self.summary)}
{f'<p class="warning" role="status">{_text(self.warning)}</p>' if self.warning else ""}
{f"<dl>{facts}</dl>" if facts else ""}
</header>
<main>
{body}
</main>
<script type="application/json" id="charts">{_json({"looks": looks, **figures.data()})}</script>
<script>
{vega.script()}
</script>
<script>
{here.with_name("page.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


class _Figures:
    """The charts of a page, and their tables, each of which is in the page once."""

    def __init__(self):
        self._specs: list[dict[str, Any]] = []
        self._tables: dict[str, Any] = {}

    def add(self, name: str, chart: Any) -> str:
        """The figure's HTML."""
        spec = chart.to_dict(validate=False)  # Altair has checked each part of it when it was made
        title = spec.pop("title", {})
        for own in ("config", "$schema"):
            spec.pop(own, None)
        self._tables |= {key: _packed(rows) for key, rows in spec.pop("datasets", {}).items()}
        wide = " wide" if "concat" in spec or "hconcat" in spec else ""
        self._specs.append(_rounded(spec))
        heading = title.get("text", name) if isinstance(title, dict) else title
        notes = title.get("subtitle", []) if isinstance(title, dict) else []
        return (
            f'<figure class="chart{wide}" id="{_text(name)}"><figcaption><h3>{_text(heading)}</h3>{_paragraphs(notes)}'
            f'</figcaption><div class="view" data-chart="{len(self._specs) - 1}"></div></figure>'
        )

    def data(self) -> dict[str, Any]:
        return {"specs": self._specs, "tables": self._tables}


def table(rows: pd.DataFrame) -> str:
    """A table's HTML: numbers to the right, to five digits, and what is not finite as it is."""
    numeric = {name: pd.api.types.is_numeric_dtype(rows[name]) for name in rows.columns}
    head = "".join(f"<th{' class=number' * numeric[name]}>{_text(name)}</th>" for name in rows.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=number' * numeric[name]}>{_text(_cell(value))}</td>"
            for name, value in zip(rows.columns, row, strict=True)
        )
        + "</tr>\n"
        for row in rows.itertuples(index=False, name=None)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _section(section: Section, figures: _Figures) -> str:
    charts = "\n".join(figures.add(name, chart) for name, chart in section.charts.items())
    parts = [
        _paragraphs(section.paragraphs),
        table(section.table) if section.table is not None else "",
        f"<pre><code>{_text(section.code)}</code></pre>" if section.code else "",
        f'<div class="charts">{charts}</div>' if charts else "",
    ]
    body = "\n".join(part for part in parts if part)
    if section.folded:
        return f"<section><details><summary><h2>{_text(section.title)}</h2></summary>\n{body}\n</details></section>"
    return f"<section><h2>{_text(section.title)}</h2>\n{body}\n</section>"


def _paragraphs(sentences: Sequence[str]) -> str:
    return "\n".join(f"<p>{_text(sentence)}</p>" for sentence in sentences)


def _text(value: object) -> str:
    return html.escape(str(value))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return f"{value:,}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.5g}"


def _packed(rows: Any) -> Any:
    """A table of dictionaries with equal keys as their names and columns, a column of one value as that: few bytes."""
    names = list(rows[0]) if rows and isinstance(rows[0], dict) else []
    if not names or any(list(row) != names for row in rows):
        return {"rows": _rounded(rows)}
    columns = [[row[name] for row in rows] for name in names]
    # A list within a cell is a curve, which is drawn and not read.
    packed = [
        _rounded(column, _DIGITS_OF_CURVES if isinstance(column[0], list) else _DIGITS)
        for column in (column[:1] if all(value == column[0] for value in column) else column for column in columns)
    ]
    return {"names": names, "columns": packed, "count": len(rows)}


def _rounded(value: Any, digits: int = _DIGITS) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, list):
        return [_rounded(one, digits) for one in value]
    if isinstance(value, dict):
        return {name: _rounded(one, digits) for name, one in value.items()}
    return value


def _json(value: Any) -> str:
    """JSON that cannot end the script that it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
