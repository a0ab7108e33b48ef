import base64
import re

import numpy as np
import pandas as pd
import pytest

from adamkit.lab import SweepResult, TrainResult
from tests.lab.insight.test_reports import history_of_a_run
from tests.lab.insight.test_sweep_charts import GRID, SINGLE, tables


class Named:
    name = "<mlp>"


def of_sweep(settings, history):
    return SweepResult(history, settings, "val_loss", 4, 1.5, False, None, 8, Named(), None)


@pytest.mark.parametrize(
    ("result", "texts"),
    [
        (TrainResult(history_of_a_run(), Named(), 1.5, False), ["&lt;mlp&gt;: trained for 20 epochs", "val_accuracy"]),
        (TrainResult(history_of_a_run(3), Named(), 1.5, True), ["cut off after 3 epochs"]),
        (of_sweep(GRID, tables(GRID)[0]), ["44 settings in 1.5 s; the best by val_loss", "learning_rate", "beta_1"]),
        (of_sweep(SINGLE, tables(SINGLE)[0]), ["21 settings", "learning_rate"]),
    ],
    ids=["run", "run that was cut off", "sweep", "sweep of one hyperparameter"],
)
def test_a_notebook_shows_the_table_and_the_chart(result, texts):
    bundle = result._repr_mimebundle_()
    html = bundle["text/html"]
    assert bundle["text/plain"] == repr(result)
    for text in texts:
        assert text in html
    assert "<table>" in html
    svg = base64.b64decode(re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)[1])
    assert svg.startswith(b"<svg")
    assert not re.search(r"<script|https?://", html)


def test_where_there_is_nothing_to_draw_the_table_stands_alone():
    nothing = history_of_a_run().assign(loss=np.nan, val_loss=np.nan)
    empty = pd.DataFrame({"setting": [0], "seed": [0], "learning_rate": [1.0], "epoch": [1], "val_loss": [1.0]}).iloc[
        :0
    ]
    for result in (TrainResult(nothing, Named(), 1.0, False), of_sweep(SINGLE, empty)):
        assert "<table>" in result._repr_html_()
        assert "<img" not in result._repr_html_()
