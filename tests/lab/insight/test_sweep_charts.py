import itertools
import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest

from adamkit.lab.insight.charts import vega
from adamkit.lab.insight.charts.sweep import by_hyperparameter, charts_of, heat_map, importance, learning_curves
from adamkit.lab.insight.charts.theme import finished, save
from adamkit.lab.insight.sensitivity import sensitivity
from adamkit.lab.sweeping.spaces import draw, grid

pytestmark = pytest.mark.slow  # seconds, all in all

GRID = grid({"learning_rate": "1e-5..1:11", "beta_1": "0,0.5,0.9,0.99"})
DRAWN = draw({"learning_rate": "1e-5..1", "beta_2": "0.9..0.9999", "amsgrad": "true,false", "batch_size": "8..512"}, 64)
SINGLE = grid({"learning_rate": "1e-5..1:21"})


def tables(settings, *, seeds=1, epochs=4, objective="val_loss"):
    """The tables of a sweep: a loss with its minimum at 0.003 that falls with each epoch, infinite from 0.5 on."""
    names = list(settings[0])
    rows = pd.DataFrame(
        [
            {"setting": i, "seed": seed, **setting, "epoch": epoch}
            for i, setting in enumerate(settings)
            for seed, epoch in itertools.product(range(seeds), range(1, epochs + 1))
        ]
    )
    distance = np.log10(rows["learning_rate"] / 0.003) ** 2
    loss = (0.1 + distance + 0.01 * rows["seed"]) * (1 + 1 / rows["epoch"])
    rows["val_loss"] = np.where(rows["learning_rate"] > 0.5, np.inf, loss)
    rows["val_accuracy"] = np.where(rows["learning_rate"] > 0.5, np.nan, 1 / (1 + loss))
    last = rows[rows["epoch"] == epochs].groupby("setting")
    sign = -1 if objective.startswith("-") else 1
    mean = sign * last[objective.removeprefix("-")].mean()
    diverged = last["val_loss"].agg(lambda losses: np.mean(~np.isfinite(losses)))
    summary = last[names].first().assign(mean=mean, diverged=diverged).reset_index()
    return rows, summary, sensitivity(summary, names, objective)


def layers_of(chart):
    """The marks of a chart with their rows: (mark, encoding, rows)."""
    spec = chart.to_dict()  # Altair holds it to the Vega-Lite schema
    for layer in spec["layer"]:
        mark = layer["mark"]
        rows = spec["datasets"][layer.get("data", spec.get("data", {}))["name"]]
        yield mark if isinstance(mark, dict) else {"type": mark}, layer["encoding"], rows


def rows_of(chart, **mark):
    """The rows of the one layer whose mark has these properties."""
    (rows,) = (rows for found, _, rows in layers_of(chart) if mark.items() <= found.items())
    return rows


@pytest.mark.parametrize("settings", [GRID, DRAWN, SINGLE])
@pytest.mark.parametrize("objective", ["val_loss", "-val_accuracy"])
def test_a_sweep_has_a_chart_for_each_hyperparameter_and_for_the_two_that_matter_most(settings, objective):
    charts = charts_of(*tables(settings, objective=objective))
    names = list(settings[0])
    assert set(names) | {"learning_curves"} <= charts.keys()
    pairs = [name for name in charts if "-" in name]
    assert len(pairs) == (len(names) > 1)
    assert all(pair.startswith("learning_rate-") for pair in pairs)  # the loss depends on nothing else
    assert ("importance" in charts) == (len(names) > 1)
    for chart in charts.values():
        spec = chart.to_dict()
        assert spec["title"]["text"].startswith((objective.removeprefix("-"), "How much"))
        assert sum(len(rows) for rows in spec["datasets"].values()) <= 5000


def test_the_good_range_is_shaded_and_what_diverges_is_marked():
    table, summary, result = tables(GRID, seeds=3)
    rates, betas = result.effects
    chart = by_hyperparameter("learning_rate", table, summary, result)
    (band,) = rows_of(chart, type="rect")
    assert (band["learning_rate"], band["end"]) == (rates.low, rates.high)
    assert len(rows_of(chart, shape="cross")) == result.diverged == 4  # of 11 rates one is above 0.5
    best = rows_of(chart, type="line")
    assert [row["learning_rate"] for row in best] == [point.value for point in rates.profile if not point.diverged]
    for row in best:
        assert row["low"] <= row["objective"] <= row["high"]
        assert row["high"] - row["low"] == pytest.approx(0.02 * 1.25)
    (band,) = rows_of(by_hyperparameter("beta_1", table, summary, result), type="rect")
    assert (band["beta_1_complement"], band["end"]) == (1 - betas.low, 1 - betas.high)


def test_all_marks_share_one_title_an_axis():  # one that has none takes it from all
    table, summary, result = tables(GRID, seeds=2)
    for name in ("learning_rate", "beta_1"):
        encodings = [encoding for _, encoding, _ in layers_of(by_hyperparameter(name, table, summary, result))]
        assert len({encoding["x"]["title"] for encoding in encodings}) == 1
        heights = [encoding["y"] for encoding in encodings if "field" in encoding.get("y", {})]
        assert {height["title"] for height in heights} == {"val_loss after 4 epochs"}
        assert {height["field"] for height in heights} == {"objective", "low"}


def test_scales_are_the_habitual_ones():
    def x_of(name, settings):
        chart = by_hyperparameter(name, *tables(settings))
        return {json.dumps(encoding["x"], sort_keys=True) for _, encoding, _ in layers_of(chart)}

    rates = {"learning_rate": [1e-3, 1e-2, 1e-1]}
    for name, values, kind in [
        ("learning_rate", [1e-4, 1e-3], '"type": "log"'),
        ("epsilon", [1e-8, 1e-4], '"type": "log"'),
        ("weight_decay", [0, 1e-4, 1e-2], '"type": "symlog"'),
        ("beta_2", [0.9, 0.999], '"type": "log"'),
        ("batch_size", [8, 256], '"type": "log"'),
        ("cosine_alpha", [0, 0.5, 1], '"zero": false'),
        ("amsgrad", [False, True], '"type": "ordinal"'),
    ]:
        (x,) = x_of(name, grid(rates | {name: values}))  # the same for all marks
        assert kind in x
        assert ("1 − beta_2" in json.loads(x)["title"]) == (name == "beta_2")


def test_a_heat_map_of_a_grid_has_a_cell_a_pair_and_frames_the_best():
    settings = grid({"learning_rate": "1e-4..1:5", "beta_1": "0.8,0.9", "amsgrad": "true,false"})
    _, summary, result = tables(settings)
    chart = heat_map("learning_rate", "beta_1", summary, result)
    cells, frame = (rows for mark, _, rows in layers_of(chart) if mark["type"] == "rect")
    assert len(cells) == 4 * 2
    assert len(rows_of(chart, shape="cross")) == 2
    assert frame[0]["objective"] == min(cell["objective"] for cell in cells) == result.best


def test_a_heat_map_of_draws_has_a_point_a_setting():
    _, summary, result = tables(DRAWN)
    chart = heat_map("learning_rate", "batch_size", summary, result)
    drawn = len(rows_of(chart, type="circle")), len(rows_of(chart, shape="cross"))
    assert drawn == (len(DRAWN) - result.diverged, result.diverged)
    assert result.diverged


def test_learning_curves_are_means_over_seeds_and_the_best_are_named():
    table, summary, result = tables(GRID, seeds=2)
    chart = learning_curves(table, summary, result, best=3)
    grey, colored = (rows for _, _, rows in layers_of(chart))
    assert len(grey) + len(colored) == len(GRID) - result.diverged
    best = summary.nsmallest(3, "mean")["setting"].tolist()
    assert sorted(row["setting"] for row in colored) == sorted(best)
    assert sorted(row["best"][:2] for row in colored) == ["1.", "2.", "3."]
    for row in grey + colored:
        rows = table[table["setting"] == row["setting"]]
        assert row["epoch"] == [1, 2, 3, 4, 4]
        np.testing.assert_allclose(row["objective"][:-1], rows.groupby("epoch")["val_loss"].mean())
        assert row["objective"][-1] is None  # where the line breaks


@pytest.mark.parametrize("objective", ["val_loss", "-val_accuracy"])
def test_the_best_learning_curves_are_drawn_whole(objective):
    table, summary, result = tables(SINGLE, objective=objective)
    spec = learning_curves(table, summary, result).to_dict()
    low, high = spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    best = table[table["setting"] == summary["mean"].idxmin()][objective.removeprefix("-")]
    assert low <= best.min()
    assert best.max() <= high


def test_settings_that_were_stopped_early_are_said_to_be():
    table, _, _ = tables(SINGLE)
    table = table[(table["setting"] >= 8) | (table["epoch"] <= 2)]
    last = table.groupby("setting").last()
    summary = last[["learning_rate"]].assign(mean=last["val_loss"], diverged=np.isinf(last["val_loss"])).reset_index()
    result = sensitivity(summary, ["learning_rate"], "val_loss")
    spec = by_hyperparameter("learning_rate", table, summary, result).to_dict()
    assert spec["title"]["subtitle"][-1].startswith("8 settings were stopped early")
    grey, dots, colored = (rows for _, _, rows in layers_of(learning_curves(table, summary, result)))
    assert sorted(len(row["epoch"]) - 1 for row in grey + colored) == [2] * 8 + [4] * (13 - result.diverged)
    assert [row["epoch"] for row in dots] == [2] * 8


def test_importance_has_a_bar_for_each_hyperparameter():
    *_, result = tables(GRID)
    bars = rows_of(importance(result), type="bar")
    assert {effect.name: effect.importance for effect in result.effects}.items() <= {
        row["what"]: row["share"] for row in bars
    }.items()
    assert [row["share"] for row in bars] == sorted((row["share"] for row in bars), reverse=True)


@pytest.mark.slow
def test_ten_thousand_settings_are_drawn_in_part_and_the_best_is_among_them():
    settings = grid({"learning_rate": "1e-5..1:2500", "beta_1": "0.5,0.8,0.9,0.99"})
    table, summary, result = tables(settings, epochs=2)
    for chart in charts_of(table, summary, result).values():
        assert sum(len(rows) for rows in chart.to_dict()["datasets"].values()) <= 5000
    _, colored = (rows for _, _, rows in layers_of(learning_curves(table, summary, result)))
    assert summary["mean"].idxmin() in [row["setting"] for row in colored]


def test_where_everything_diverges_there_is_nothing_to_draw():
    table, summary, result = tables(grid({"learning_rate": "1..10:3"}))
    assert charts_of(table, summary, result) == {}


@pytest.mark.slow
def test_saved_charts_are_whole_and_need_no_network(tmp_path):
    chart = charts_of(*tables(GRID))["learning_rate"]
    paths = save(chart, tmp_path, "learning_rate")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    page, picture, drawing = (path.read_bytes() for path in paths)
    assert not re.search(rb"<(script|link)[^>]+(src|href)=", page)  # all that it runs is in it
    assert b"val_loss by learning rate" in page
    assert picture.startswith(b"\x89PNG")
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert 2 * 640 < width <= 2 * 800
    assert 2 * 380 < height <= 2 * 600
    assert drawing.startswith(b"<svg")
    assert b"val_loss after 4 epochs" in drawing


def test_the_page_of_a_chart_loads_nothing_and_no_text_ends_its_script(tmp_path):
    chart = finished(alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x:Q"), "</script><b>it")
    (path,) = save(chart, tmp_path, "chart", ["html"])
    page = path.read_text(encoding="utf-8")
    assert vega.script() in page
    own = page.replace(vega.script(), "")
    assert re.search(r"src=|href=|@import|<b>", own) is None
    assert own.count("</script>") == own.count("<script") == 2
    assert r"\u003c/script>\u003cb>it" in own
