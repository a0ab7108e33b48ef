import json
import re

import numpy as np
import pandas as pd
import pytest

from adamkit import __version__
from adamkit.lab.errors import InputError
from adamkit.lab.insight import reports
from adamkit.lab.insight.charts import training as training_charts
from adamkit.lab.insight.charts import vega
from adamkit.lab.insight.reports import made, sweep, training
from adamkit.lab.runs import Settings
from adamkit.lab.runs.folder import RunFolder
from tests.lab.insight.test_sweep_charts import DRAWN, GRID, SINGLE, tables

pytestmark = pytest.mark.slow  # seconds, all in all

RECORD = {
    "settings": {"data": "digits", "model": "mlp", "epochs": 20, "amsgrad": False, "metrics": None},
    "data": {"rows": 100, "validation_rows": 20, "row_shape": [8, 8], "target": "classes", "fingerprint": "ab"},
    "model": {"parameters": 1234},
    "loss": "binary_crossentropy",
    "versions": {"adamkit": __version__},
    "status": "finished",
}


def history_of_a_run(epochs=20):
    t = np.arange(1, epochs + 1)
    parts = {"loss": 1 / t, "accuracy": 1 - 0.5 / t, "val_loss": 1 / t + 0.01 * t, "val_accuracy": 0.9 - 0.5 / t}
    return pd.DataFrame({"epoch": t} | parts | {"seconds": 0.01})


def folder_with(tmp_path, record, history=None):
    folder = RunFolder(tmp_path)
    folder.write_record(record)
    if history is not None:
        folder.write_history(history)
    return folder


def text_of(page):
    return re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page.html(), flags=re.S)


# Pages.


def test_a_page_is_one_file_that_may_load_nothing():
    for page in (
        training.page(history_of_a_run(), RECORD, "adamkit train"),
        sweep.page(tables(DRAWN)[0], list(DRAWN[0]), "val_loss", settings=len(DRAWN), record=RECORD),
    ):
        html = page.html()
        assert len(html) < 3e6
        assert "default-src 'none'" in html
        own = html.replace(vega.script(), "")
        assert not re.search(r"https?://", own)
        assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=(?!.data:)", own)
        assert html.count("<script") == html.count("</script>") == 3
        data = json.loads(re.search(r'id="charts">(.*?)</script>', html, re.S)[1])
        assert len(data["specs"]) == len(page.charts) == html.count('class="view"')


def test_a_table_of_settings_is_in_the_page_once():
    page = sweep.page(tables(GRID)[0], list(GRID[0]), "val_loss", settings=len(GRID))
    data = json.loads(re.search(r'id="charts">(.*?)</script>', page.html(), re.S)[1])
    used = [name for spec in data["specs"] for name in re.findall(r"data-[0-9a-f]{32}", json.dumps(spec))]
    assert set(used) == set(data["tables"])
    assert len(used) > len(data["tables"])


@pytest.mark.slow
def test_the_largest_pages_stay_small():
    rates = {"learning_rate": "1e-5..0.4:60", "beta_1": "0.5..0.99:10", "beta_2": "0.9..0.9999:5"}
    from adamkit.lab.sweeping.spaces import grid

    settings = grid(rates)
    table = tables(settings, epochs=150)[0]
    assert len(sweep.page(table, list(rates), "val_loss", settings=len(settings)).html()) < 3e6


# Training.


def test_the_report_of_a_run_has_a_chart_for_the_loss_and_each_metric():
    page = training.page(history_of_a_run(), RECORD, "adamkit train --epochs 20")
    assert list(page.charts) == ["loss", "accuracy"]
    text = text_of(page)
    assert "val_loss is smallest after epoch 10: 0.2." in text
    assert "In the epochs after it, it grows by 0.05, to 0.25." in text
    assert "adamkit train --epochs 20" in text
    assert "1,234" in text
    assert page.warning is None


def test_what_is_not_finite_is_left_out_and_said():
    history = history_of_a_run()
    history.loc[5:, "loss"] = np.nan
    history.loc[:, "val_accuracy"] = np.inf
    page = training.page(history, RECORD, None)
    assert "not finite in 20 of 20 epochs, first in epoch 1" in text_of(page)
    spec = page.charts["loss"].to_dict()
    assert spec["title"]["subtitle"][-1] == "Not finite, and not drawn, in 15 of 20 epochs"
    nothing = history.assign(loss=np.nan, val_loss=np.nan)
    assert list(training.page(nothing, RECORD, None).charts) == ["accuracy"]


def test_a_long_run_is_drawn_in_part_with_both_ends():
    spec = training_charts.over_epochs("loss", history_of_a_run(5000)).to_dict()
    (rows,) = (rows for rows in spec["datasets"].values() if "part" in rows[0] and len(rows) > 1)
    epochs = [row["epoch"] for row in rows if row["part"] == "training"]
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 5000, 1000)


def test_names_of_metrics_are_no_paths_for_vega():
    history = history_of_a_run().rename(columns={"accuracy": "a.b[0]", "val_accuracy": "val_a.b[0]"})
    assert "a.b[0]" in training_charts.charts_of(history)
    spec = training_charts.over_epochs("a.b[0]", history).to_dict()
    assert all(
        set(row) <= {"epoch", "part", "value", "training", "validation"}
        for rows in spec["datasets"].values()
        for row in rows
    )


# Sweeps.


@pytest.mark.parametrize(
    ("settings", "objective", "more"),
    [
        (GRID, "val_loss", {"parallel", "importance", "budget"}),
        (DRAWN, "-val_accuracy", {"parallel", "importance", "budget"}),
        (SINGLE, "-val_accuracy", {"budget"}),
    ],
    ids=["grid", "drawn", "one hyperparameter"],
)
def test_the_report_of_a_sweep_shows_each_hyperparameter_and_the_best(settings, objective, more):
    table, summary, result = tables(settings, objective=objective)
    page = sweep.page(table, list(settings[0]), objective, settings=len(settings), record=RECORD)
    assert set(page.charts) == {"explorer", "learning_curves", *settings[0]} | more
    (best,) = (section.table for section in page.sections if section.title == "What it shows")
    metric = objective.removeprefix("-")
    assert best["setting"].tolist() == summary[np.isfinite(summary["mean"])].nsmallest(10, "mean")["setting"].tolist()
    assert page.facts[f"best {metric}"] == f"{abs(result.best):.4g}"
    for sentence in result.describe():
        assert sentence[1:] in text_of(page).replace("&#x27;", "'")


def test_a_sweep_that_was_cut_off_says_how_far_it_came():
    table = tables(GRID)[0]
    page = sweep.page(table[table["setting"] < 9], list(GRID[0]), "val_loss", settings=len(GRID), interrupted=True)
    assert page.warning == "The sweep was cut off. 9 of 44 runs are finished."
    assert page.facts["settings"] == "9 of 44"


def test_a_sweep_that_diverges_everywhere_has_a_report_without_charts():
    settings = [{"learning_rate": rate} for rate in (1.0, 2.0, 4.0)]
    page = sweep.page(tables(settings)[0], ["learning_rate"], "val_loss", settings=3)
    assert page.charts == {}
    assert "all of 3 settings diverge".upper() in text_of(page).upper()


def test_one_setting_has_a_report():
    settings = [{"learning_rate": 0.01}]
    page = sweep.page(tables(settings)[0], ["learning_rate"], "val_loss", settings=1)
    assert list(page.charts) == ["learning_curves"]


# Folders.


def test_a_folder_that_is_no_run_is_named(tmp_path):
    for record, message in [
        ({"settings": {}}, "must be the folder of a run, and its run.json is without data, model, versions"),
        (RECORD | {"settings": {"speed": 1}}, "the run's settings must be among .*Received: speed"),
        (RECORD | {"sweep": 3}, "must be the folder of a sweep"),
        (RECORD | {"range": {"low": 1}}, "must be the folder of a range test"),
        (RECORD, "is no readable history"),
        (RECORD | {"data": 3}, "is no readable history|no run that a report can be made of"),
    ]:
        with pytest.raises(InputError, match=message):
            reports.page_of(folder_with(tmp_path, record))
    newer = RECORD | {"settings": {"speed": 1}, "versions": {"adamkit": "99.0"}}
    with pytest.raises(InputError, match=rf"of adamkit 99\.0, and this is {re.escape(__version__)}"):
        reports.page_of(folder_with(tmp_path, newer))


@pytest.mark.parametrize(
    ("status", "said"), [("interrupted", "was cut off"), ("failed", "failed"), ("running", "was still running")]
)
def test_a_run_that_did_not_end_says_so(tmp_path, status, said):
    page = reports.page_of(folder_with(tmp_path, RECORD | {"status": status}, history_of_a_run()))
    assert said in page.warning


def test_a_damaged_history_is_named(tmp_path):
    folder = folder_with(tmp_path, RECORD)
    (tmp_path / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no readable history"):
        reports.page_of(folder)
    history_of_a_run().drop(columns="loss").to_parquet(tmp_path / "history.parquet")
    with pytest.raises(InputError, match=r"must have epoch, loss and seconds\. Received: epoch, accuracy"):
        reports.page_of(folder)


def test_a_report_that_cannot_be_written_only_warns(tmp_path):
    warnings = []

    def fails():
        raise OSError(28, "No space left on device")

    assert reports.attempt(fails, tmp_path, warnings.append) is None
    assert warnings == ["no report was written: OSError: [Errno 28] No space left on device"]
    page = training.page(history_of_a_run(), RECORD, None)
    assert reports.attempt(lambda: page, tmp_path / "not there", warnings.append) is None
    assert len(warnings) == 2
    assert reports.attempt(lambda: page, tmp_path, warnings.append) == tmp_path / "report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_command_gives_the_settings_again():
    import typer

    from adamkit.cli import app, options

    settings = Settings(
        data="a file.csv", target="-y", metrics=["mae", "mse"], learning_rate=3e-4, beta_2=0.99, amsgrad=True,
        shuffle=False, epochs=7, seed=3, batch_size=8,
    )  # fmt: skip
    import shlex

    words = shlex.split(made.command("train", made.changed(settings)))
    assert words[:2] == ["adamkit", "train"]
    train = typer.main.get_command(app).commands["train"]
    assert Settings(**options.given(train.make_context("train", words[2:]))) == settings
