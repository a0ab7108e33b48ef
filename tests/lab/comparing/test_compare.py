"""A comparison is fair, can be taken up again, and claims no difference where there is none."""

import dataclasses
import doctest
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from adamkit import lab
from adamkit.lab.comparing import compare as module
from adamkit.lab.comparing import words
from adamkit.lab.comparing.optimizers import Optimizer, named
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping.spaces import Range
from tests.lab.some_models import TABLE, compiled

pytestmark = pytest.mark.slow  # they compile

Y = np.sin(TABLE.sum(axis=1, keepdims=True))
OPTIONS = {"budget": 5, "epochs": 3, "batch_size": 16, "seeds": 2}
SGD = named("sgd")


class Unmappable(keras.optimizers.SGD):
    """Its step needs a Python number."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, float(learning_rate))


def small():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, "tanh"), layers.Dense(1)])


@pytest.fixture(scope="module")
def model():
    return compiled(small, {"loss": "mse", "metrics": ["mae"]}, "adam")


@pytest.fixture(scope="module")
def twins(model, tmp_path_factory):
    """One optimizer under two names, beside one that cannot be mapped."""
    keras.optimizers.Unmappable = Unmappable
    folder = tmp_path_factory.mktemp("twins")
    try:
        before = [np.array(v) for v in model.get_weights()]
        given = [SGD, dataclasses.replace(SGD, name="twin"), dataclasses.replace(SGD, name="bad", kind="Unmappable")]
        result = lab.compare(model, TABLE, Y, optimizers=given, folder=folder, **OPTIONS)
        for own, was in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(own, was)
    finally:
        del keras.optimizers.Unmappable
    return result, given, folder


def test_all_have_the_same_starts_orders_and_settings(twins):
    result, _, _ = twins
    for table in (result.history, result.runs):
        sgd, twin = (
            table[table.optimizer == name].drop(columns="optimizer").reset_index(drop=True) for name in ("sgd", "twin")
        )
        pd.testing.assert_frame_equal(sgd, twin, check_exact=True)
    search = result.history[result.history.stage == "search"]
    assert search.groupby(["optimizer", "setting"]).epoch.max().tolist() == [3] * 10
    repeated = result.runs[(result.runs.stage == "repeat") & (result.runs.optimizer == "sgd")]
    assert sorted(repeated.seed.unique()) == [1, 2]  # none that chose
    assert repeated.setting.nunique() == 4


def test_a_notebook_shows_the_verdict_the_table_and_the_budget_curve(twins):
    html = twins[0]._repr_mimebundle_()["text/html"]
    assert twins[0].verdict[0].partition(":")[0] in html
    assert html.count("<tr>") == 3
    assert "data:image/svg+xml;base64," in html


def test_there_is_no_difference_between_an_optimizer_and_itself(twins):
    result, _, _ = twins
    assert result.verdict[0].startswith("No difference beyond luck: the best")
    assert "a band that overlaps with that of" in result.verdict[0]
    assert set(words.tied(result)) == {"sgd", "twin"}
    np.testing.assert_allclose(result.chances.chance, result.chances.chance.to_numpy()[::-1])
    full = result.chances[result.chances.budget == 5].chance
    np.testing.assert_allclose(full, 0.5)


def test_what_cannot_be_mapped_is_named_and_the_others_go_on(twins):
    result, _, _ = twins
    assert list(result.described["failures"]) == ["bad"]
    assert any(
        "bad was left out: " in sentence and "its optimizer (Unmappable)" in sentence for sentence in result.verdict
    )


def test_what_is_reported_is_what_the_test_part_shows(twins, model):
    """The chosen setting's runs, repeated by `lab.sweep` on the same parts, and evaluated by Keras."""
    result, _, _ = twins
    x, y = TABLE[:32], Y[:32]  # the last fifth to report on, a fifth of the rest to choose on
    row = result.summary.iloc[0]
    sgd = compiled(small, {"loss": "mse", "metrics": ["mae"]}, keras.optimizers.SGD())
    sgd.set_weights(model.get_weights())
    swept = lab.sweep(
        sgd, x, y, space=[{"learning_rate": float(row.learning_rate)}], epochs=3, batch_size=16, seeds=3,
        validation_data=(TABLE[32:40], Y[32:40]),
    )  # fmt: skip
    runs = result.runs[(result.runs.optimizer == "sgd") & (result.runs.stage == "repeat")]
    runs = runs[runs.setting == result.best_setting("sgd")].set_index("seed")
    for seed in (1, 2):
        loss, mae = swept.model(0, seed).evaluate(TABLE[40:], Y[40:], verbose=0)
        np.testing.assert_allclose([runs.test_loss[seed], runs.test_mae[seed]], [loss, mae], rtol=1e-4)
        validated = swept.history[(swept.history.seed == seed) & (swept.history.epoch == 3)].val_loss
        np.testing.assert_allclose(runs.val_loss[seed], validated, rtol=1e-4)
    assert result.described["rows"] == [32, 8, 10]
    np.testing.assert_allclose(
        result.described["start"]["test_loss"], model.evaluate(TABLE[40:], Y[40:], verbose=0)[0], rtol=1e-5
    )


def test_the_budget_curve_ends_at_what_is_reported(twins):
    result, _, _ = twins
    last = result.expected_best[(result.expected_best.budget == 5) & (result.expected_best.metric == "loss")]
    np.testing.assert_allclose(last["value"], result.summary.set_index("optimizer").test_loss[last.optimizer])
    assert (last.low <= last.high).all()


def test_schedule_free_is_measured_at_its_average(model):
    options = OPTIONS | {"budget": 2, "seeds": 1, "epochs": 2}
    result = lab.compare(model, TABLE, Y, optimizers="schedule-free", **options)
    last = result.history.loc[result.history.epoch == 2].sort_values(["stage", "setting"])
    ends = result.runs.sort_values(["stage", "setting"])
    np.testing.assert_allclose(ends.val_loss, last.val_loss, rtol=1e-5)


def test_a_comparison_is_read_again_and_goes_on_without_training(twins, model, monkeypatch):
    result, given, folder = twins
    loaded = lab.Comparison.load(folder)
    pd.testing.assert_frame_equal(loaded.summary, result.summary)
    assert loaded.verdict == result.verdict
    monkeypatch.setattr("adamkit.lab.sweeping.chunks.Trainer._train_chunk", None)  # nothing is left to train
    again = lab.compare(model, TABLE, Y, optimizers=given[:2], folder=folder, **OPTIONS)
    pd.testing.assert_frame_equal(again.history, result.history, check_exact=True)
    pd.testing.assert_frame_equal(again.runs, result.runs, check_exact=True)


def test_what_was_measured_is_measured_again_where_it_is_damaged_or_of_other_data(twins, model, tmp_path):
    result, given, folder = twins
    shutil.copytree(folder, tmp_path / "copy")
    for name in ("ends.parquet", "start.json", "seconds.json"):
        for path in (tmp_path / "copy").rglob(name):
            path.write_bytes(path.read_bytes()[:-1])
    again = lab.compare(model, TABLE, Y, optimizers=given[:1], folder=tmp_path / "copy", **OPTIONS)
    own = result.runs[result.runs.optimizer == "sgd"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.runs.reset_index(drop=True), own, check_exact=True)
    assert again.described["start"] == result.described["start"]
    other = np.concatenate([Y[:40], Y[40:] + 1])  # the rows to report on
    changed = lab.compare(model, TABLE, other, optimizers=given[:1], folder=tmp_path / "copy", **OPTIONS)
    assert (changed.runs.val_loss == own.val_loss).all()
    assert (changed.runs.test_loss != own.test_loss).all()
    assert changed.described["start"]["test_loss"] != result.described["start"]["test_loss"]


def test_another_comparison_in_the_same_folder_is_refused(twins, model):
    _, given, folder = twins
    with pytest.raises(InputError, match="folder must be new, or hold a part of this very sweep"):
        lab.compare(model, TABLE, Y, optimizers=given[:1], folder=folder, **(OPTIONS | {"epochs": 2}))


def test_a_space_that_is_wrong_is_widened_and_said(model):
    wrong = Optimizer("far", "SGD", {"learning_rate": Range(1e-6, 1e-5)})
    result = lab.compare(model, TABLE, Y, optimizers=[wrong], **(OPTIONS | {"epochs": 1}))
    about = result.described["optimizers"]["far"]
    assert about["widened"] == 3
    assert about["ends"] == {"learning_rate": "high"}
    assert about["space"]["learning_rate"] == "1e-06 to 0.01"
    text = " ".join(result.verdict)
    assert "which was widened, for far (3 ×)" in text
    assert "far's best setting still lies at the high end of learning_rate" in text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"optimizers": "adma"}, InputError, "optimizers must be of"),
        ({"budget": 0}, ValueError, "budget must be a whole number >= 1. Received: budget=0"),
        ({"seeds": 0}, ValueError, "seeds must be a whole number >= 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
        ({"test_split": 0.0}, InputError, "test_split must be > 0 and < 1. Received: test_split=0.0"),
        ({"test_split": 0.999}, ValueError, "test_split=0.999 leaves 0 of 50 rows"),
        ({"validation_split": 1}, InputError, "validation_split must be > 0 and < 1"),
        ({"objective": "loss"}, InputError, "objective must be of the validation part"),
        ({"objective": "val_accuracy"}, InputError, "objective must be one of .*Received: 'val_accuracy'"),
        ({"goal": float("nan")}, InputError, "goal must be a finite number"),
        ({"test_data": (TABLE,)}, ValueError, r"test_data must be \(x, y\)"),
        ({"x": TABLE[:-1]}, ValueError, "must have the same number of rows"),
        ({"model": "mlp"}, TypeError, "model must be a compiled keras.Model"),
    ],
    ids=str,
)
def test_bad_input_is_named(model, changes, error, message):
    arguments = {"model": model, "x": TABLE, "y": Y, "optimizers": "sgd"} | OPTIONS | changes
    with pytest.raises(error, match=message):
        lab.compare(**arguments)


def test_the_example_in_the_docstring():
    assert doctest.testmod(module).failed == 0
