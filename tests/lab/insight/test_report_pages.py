"""The pages of reports in a browser: every chart draws, nothing is loaded, and the charts answer the pointer."""

import json

import pytest

from adamkit.lab.insight import reports
from adamkit.lab.insight.reports import sweep, training
from adamkit.lab.insight.reports.page import Page, Section
from tests.lab.insight.test_reports import RECORD, history_of_a_run
from tests.lab.insight.test_sweep_charts import DRAWN, GRID, SINGLE, tables

pytestmark = pytest.mark.slow

# The share of a canvas's pixels that are painted.
PAINTED = """
canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let painted = 0;
    for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
    return painted / (canvas.width * canvas.height);
}
"""

# What the text above the curves says of the setting whose curve is in colour.
WORDS = """
() => {
    const said = [];
    (function walk(item) {
        if (item.marktype === "text") said.push(...item.items.map(({ datum }) => datum?.words).filter(Boolean));
        (item.items ?? []).forEach(walk);
    })(adamkit.views()[0].scenegraph().root);
    return said;
}
"""
# The settings whose curves are in colour.
CURVES = """
() => {
    const settings = new Set();
    (function walk(item) {
        if (item.marktype === "line") {
            for (const { datum, strokeWidth } of item.items) if (strokeWidth === 2.5) settings.add(datum.setting);
        }
        (item.items ?? []).forEach(walk);
    })(adamkit.views()[0].scenegraph().root);
    return [...settings].sort();
}
"""
# How many settings the box over the axes leaves in colour.
KEPT = """
() => {
    const settings = new Set();
    (function walk(item) {
        if (item.marktype === "rule") {
            for (const { datum } of item.items) if (datum?.through !== undefined) settings.add(datum.setting);
        }
        (item.items ?? []).forEach(walk);
    })(adamkit.views()[1].scenegraph().root);
    return settings.size;
}
"""


def place_of(tab, figure):
    """Where a figure's canvas is on the screen, after scrolling to it."""
    canvas = tab.page.query_selector(f"{figure} canvas")
    canvas.scroll_into_view_if_needed()
    return canvas.bounding_box()


def of_sweep(settings, tmp_path, **options):
    table, _, _ = tables(settings, **options)
    page = sweep.page(table, list(settings[0]), "val_loss", settings=len(settings))
    return reports.write(page, tmp_path / "sweep.html")[0]


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_chart_draws_and_fits_and_nothing_is_loaded(opened, tmp_path, width, dark):
    run = training.page(history_of_a_run(), RECORD, None)
    for path in (of_sweep(DRAWN, tmp_path, seeds=2), reports.write(run, tmp_path / "run.html")[0]):
        tab = opened(path, width=width, dark=dark)
        assert tab.said == []
        assert tab.requests == []
        canvases = tab.page.query_selector_all(".view canvas")
        assert len(canvases) == len(tab.page.query_selector_all("figure")) >= 2
        for canvas in canvases:
            box = canvas.bounding_box()
            assert box["width"] > 200
            assert box["height"] > 50
            assert box["x"] + box["width"] <= width
            assert canvas.evaluate(PAINTED) > 0.005
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") != dark


@pytest.mark.parametrize("settings", [GRID, DRAWN, SINGLE], ids=["cells", "points", "one hyperparameter"])
def test_the_curve_of_the_setting_under_the_pointer_is_shown(opened, tmp_path, settings):
    tab = opened(of_sweep(settings, tmp_path))

    box = place_of(tab, "#explorer")
    seen, curves = [tab.page.evaluate(WORDS)], [tab.page.evaluate(CURVES)]
    for x, y in ((0.15, 0.35), (0.3, 0.7)):
        tab.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        tab.page.wait_for_function(
            f"JSON.stringify(({WORDS})()) !== {json.dumps(json.dumps(seen[-1], separators=(',', ':')))}"
        )
        seen.append(tab.page.evaluate(WORDS))
        curves.append(tab.page.evaluate(CURVES))
    assert all(len(words) == 1 for words in seen)
    assert len({words[0] for words in seen}) == len({tuple(settings) for settings in curves}) == 3
    assert all(curves)
    assert all(name in words[0] for words in seen for name in settings[0])


def test_a_box_over_an_axis_keeps_the_settings_that_go_through_it(opened, tmp_path):
    tab = opened(of_sweep(DRAWN, tmp_path))
    assert tab.page.evaluate(KEPT) == len(DRAWN)
    box = place_of(tab, "#parallel")
    x, middle = box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"]
    tab.page.mouse.move(x - 40, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 40, middle + 0.2 * box["height"], steps=4)
    tab.page.mouse.up()
    tab.page.wait_for_function(f"({KEPT})() < {len(DRAWN)}")
    assert 0 < tab.page.evaluate(KEPT) < len(DRAWN) / 2
    assert tab.said == []


def test_the_look_can_be_chosen(opened, tmp_path):
    tab = opened(reports.write(training.page(history_of_a_run(), RECORD, None), tmp_path / "run.html")[0])
    canvas = "document.querySelector('.view canvas').toDataURL()"
    light = tab.page.evaluate(canvas)
    tab.page.click("#look")
    tab.page.wait_for_function("document.querySelector('.view').dataset.state.endsWith('true')")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    assert tab.page.evaluate(canvas) != light
    tab.page.click("#look")
    tab.page.wait_for_function(f"{canvas} === {light!r}")


def test_what_looks_like_html_is_shown_as_it_is(opened, tmp_path):
    nasty = "</script><img src=x onerror=alert(1)><b>&amp;"
    history = history_of_a_run().rename(columns={"accuracy": nasty, "val_accuracy": f"val_{nasty}"})
    page = training.page(history, RECORD, f"adamkit train --data '{nasty}'")
    page = Page(nasty, [nasty], {nasty: nasty}, [Section(nasty, [nasty]), *page.sections], nasty)
    tab = opened(reports.write(page, tmp_path / "run.html")[0])
    assert tab.said == []
    assert tab.requests == []
    assert tab.page.inner_text("h1") == nasty
    assert nasty in tab.page.inner_text("table")
    assert tab.page.query_selector("img, b") is None
