"""What all charts share: sizes, colours in light and dark, titles, the axis of a hyperparameter, files.

The colours are those of Okabe and Ito, which readers of all kinds of colour vision tell apart, and viridis. A mark
whose colour must change with the background has a style (`mark_line(style=BEST)`) rather than a colour; a scale of
names, or of numbers in lines, has no range and takes the theme's, where larger numbers stand out more. A page or
picture in dark is then the same chart with `config(dark=True)`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np

from adamkit.lab import disk
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.insight.charts import vega

WIDTH, HEIGHT = 640, 380  # pixels of the plot; a chart with its axes and legend is about 800 wide
MOST_LABELS = 8  # values of a hyperparameter that an axis names one by one
LOG_FROM = 10  # a largest value so many times the smallest asks for a log scale

BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
SKY, YELLOW, GREY = "#56B4E9", "#F0E442", "#8C8C8C"
# The last stands out on white (dark grey) and on black (yellow); seven are as many as can be told apart.
COLORS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, "#555555")
COLORS_ON_DARK = (SKY, ORANGE, "#2BC59A", "#F0803C", "#E39CC4", "#4A90C8", YELLOW)

# Styles: in colour, beside that, behind it, around one mark, and around text that stands on lines.
BEST, OTHERS, FAINT, FRAME, HALO = "best", "others", "faint", "frame", "halo"

SHORT = ".6~g"  # how d3 writes 0.001 and 100000, and 1e+6 rather than more zeros
FORMATS = ("html", "png", "svg")
Format = Literal["html", "png", "svg"]

# What is the same in both.
_SIZES: dict[str, Any] = {
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 13, "titlePadding": 8, "labelOverlap": True},
    "legend": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": WIDTH,
        "gradientLength": HEIGHT - 40,
        "columnPadding": 28,
    },
    "title": {"fontSize": 16, "subtitleFontSize": 12, "anchor": "start", "offset": 12},
    "header": {"labelFontSize": 12, "titleFontSize": 13},
}


def config(*, dark: bool = False) -> dict[str, Any]:
    """Vega-Lite's configuration in this look: of `alt.Chart.configure`, or the `config` of a specification."""
    paper, ink, soft, grid = (
        ("#15181c", "#e4e7ea", "#a9b1ba", "#2c3238") if dark else ("#ffffff", "#1f2328", "#59636e", "#e6e6e6")
    )
    colors = COLORS_ON_DARK if dark else COLORS
    by_theme: dict[str, Any] = {
        "background": paper,
        "axis": {
            "labelColor": ink, "titleColor": ink, "gridColor": grid, "domainColor": soft, "tickColor": soft,
        },
        "legend": {"labelColor": ink, "titleColor": ink},
        "header": {"labelColor": ink, "titleColor": ink},
        "title": {"color": ink, "subtitleColor": soft},
        "text": {"color": ink},
        "mark": {"color": colors[0]},
        "range": {
            "category": list(colors),
            # From what is poor to what is good, which stands out from the paper; a heat map is filled up to the end.
            "ramp": {"scheme": "viridis", "extent": [0.15, 1.0] if dark else [0.9, 0.0]},
            "heatmap": {"scheme": "viridis", "extent": [0.1, 1.0] if dark else [1.0, 0.0]},
        },
        "style": {
            BEST: {"color": colors[0]},
            OTHERS: {"color": "#8f979f" if dark else GREY},
            FAINT: {"color": "#4b535b" if dark else "#bdbdbd"},
            FRAME: {"color": colors[3]},
            HALO: {"fill": paper, "stroke": paper, "strokeWidth": 4, "strokeJoin": "round"},
        },
    }  # fmt: skip
    return by_theme | {name: by_theme.get(name, {}) | sizes for name, sizes in _SIZES.items()}


def finished(chart: Any, title: str, notes: Sequence[str] = (), height: int | alt.Step = HEIGHT) -> Any:
    """A chart with its title, a line below it for each note, this size and this look.

    Args:
        chart: An Altair chart without configuration.
        title: What it shows.
        notes: How to read it. A page sets title and notes as text, so that they wrap on a phone.
        height: Of the plot: pixels, or `alt.Step` for so many a band.
    """
    heading = alt.TitleParams(title, subtitle=list(notes))
    return chart.properties(title=heading, width=WIDTH, height=height).configure(**config())


def save(
    chart: Any, folder: str | Path, name: str, formats: Sequence[Format] = FORMATS, *, dark: bool = False
) -> list[Path]:
    """Write a chart as a page that needs no network, as PNG and as SVG.

    Args:
        chart: The chart.
        folder: Where; it must exist. Files of the same name are replaced, each whole or not at all.
        name: The files' name without suffix.
        formats: Which of `"html"`, `"png"` (twice as many pixels as the chart has) and `"svg"`.
        dark: On a dark background.

    Returns:
        The paths.

    Raises:
        OSError: The disk is full or fails.
    """
    if dark:
        chart = chart.configure(**config(dark=True))
    options: dict[str, dict[str, Any]] = {"png": {"scale_factor": 2}, "svg": {}}
    files = []
    for suffix in formats:
        files.append(Path(folder) / f"{name}.{suffix}")
        if suffix == "html":
            text = _page(chart)
            disk.replace(files[-1], lambda path, text=text: path.write_text(text, encoding="utf-8"))
        else:  # the format is said, as a file's temporary name may not
            disk.replace(files[-1], lambda path, suffix=suffix: chart.save(str(path), suffix, **options[suffix]))
    return files


def _page(chart: Any) -> str:
    """Altair's page with the script that is kept: Altair would bundle it anew, which takes seconds.

    No text of the chart can end the script that it stands in.
    """
    before, *_, after = re.split(r"<script[^>]* src=[^>]*></script>", chart.to_html())
    after = re.sub("var spec = .*", lambda spec: spec[0].replace("<", "\\u003c"), after)
    return f"{before}<script>\n{vega.script()}\n</script>{after}"


def hyperparameter_axis(name: str, values: Any, *, bands: bool = False) -> dict[str, Any]:
    """What `alt.X` and `alt.Y` take for a hyperparameter: its column, scale, ticks and title.

    Args:
        name: The hyperparameter.
        values: All of its values that are drawn.
        bands: A band a value, as the cells of a heat map need.

    Returns:
        Arguments. For a β that is no band the column is `column_of(name)`, which has 1 − β.
    """
    known = HYPERPARAMETERS[name]
    values = np.unique(np.asarray(values))
    unit = [known.unit] if known.unit else []
    title = _titled(name, unit)
    few = values.tolist() if len(values) <= MOST_LABELS else None
    if known.kind == "flag":
        return {"field": name, "type": "ordinal", "title": title, "axis": alt.Axis(labelAngle=0)}
    if bands:
        every = -(-len(values) // MOST_LABELS)
        labels = alt.Axis(values=values[::every].tolist(), labelAngle=0, formatType="number", format=digits(name))
        return {"field": name, "type": "ordinal", "title": title, "axis": labels}
    if known.is_decay:
        title = _titled(name, [f"log scale of 1 − {name}"])
        complements = 1 - values
        ticks = alt.Axis(
            values=decades(complements) if few is None else complements.tolist(),
            labelExpr=f"format(1 - datum.value, '{digits(name)}')",
        )
        scale = alt.Scale(type="log", reverse=True, nice=False, padding=12)
        return {"field": column_of(name), "type": "quantitative", "title": title, "scale": scale, "axis": ticks}
    scale, ticks = alt.Scale(zero=False, nice=False, padding=12), alt.Axis(values=few or alt.Undefined)
    if is_log(name, values):
        title = _titled(name, [*unit, "log scale"])
        positive = values[values > 0]
        scale = alt.Scale(type="log", nice=False, padding=12)
        if len(positive) < len(values):  # 0 is on no log scale
            scale = alt.Scale(type="symlog", constant=float(positive[0]), nice=False, padding=12)
        ticks = alt.Axis(values=few or [*values[values == 0].tolist(), *decades(positive)], format=SHORT)
    return {"field": name, "type": "quantitative", "title": title, "scale": scale, "axis": ticks}


def column_of(name: str) -> str:
    """The column that is drawn of a hyperparameter: 1 − β of a β, which has a log scale."""
    return f"{name}_complement" if HYPERPARAMETERS[name].is_decay else name


def is_log(name: str, values: np.ndarray) -> bool:
    """Whether a hyperparameter with these sorted values is drawn on a log scale."""
    wide = name == "batch_size" and values[-1] >= LOG_FROM * values[0]
    return (HYPERPARAMETERS[name].scale == "log" or wide) and bool((values > 0).any())


def decades(values: np.ndarray) -> list[float]:
    """The powers of ten among what positive values span, with 2 and 5 between them where there are few."""
    low, high = values.min() * (1 - 1e-9), values.max() * (1 + 1e-9)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = [
            float(f"{step}e{power}") for power in powers for step in steps if low <= float(f"{step}e{power}") <= high
        ]
        if len(ticks) >= 3:
            return ticks
    return ticks


def digits(name: str) -> str:
    """How d3 formats a value of a hyperparameter."""
    return ".4~g" if HYPERPARAMETERS[name].is_decay else "~g" if HYPERPARAMETERS[name].kind == "integer" else ".2~g"


def scale_type(values: Any, *, is_large_good: bool = False) -> Literal["log", "linear"]:
    """Log for a loss that spans a factor of ten; an accuracy stays on its linear scale."""
    low, high = values.min(), values.max()
    return "log" if low > 0 and high >= LOG_FROM * low and not is_large_good else "linear"


def value_scale(kind: Literal["log", "linear"], **options: Any) -> alt.Scale:
    """The scale of a loss or metric: as wide as its values, which need not reach down to 0."""
    return alt.Scale(type=kind, nice=False, **({} if kind == "log" else {"zero": False}), **options)


def value_axis(kind: Literal["log", "linear"]) -> Any:
    """The axis of that scale: on a log scale what diverges may be of any size."""
    return alt.Axis(format=SHORT) if kind == "log" else alt.Undefined


def title_of(name: str) -> str:
    """What a chart calls a hyperparameter."""
    return HYPERPARAMETERS[name].title or name


def _titled(name: str, remarks: Sequence[str]) -> str:
    return f"{title_of(name)} ({', '.join(remarks)})" if remarks else title_of(name)
