"""An audit says truly where untuned optimizers stand among tuned settings, and can be taken up again."""

import doctest
import inspect

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.comparing import audit as module
from adamkit.lab.comparing.audited import TUNED, Audit
from adamkit.lab.comparing.optimizers import OPTIMIZERS, Optimizer, named
from adamkit.lab.comparing.statistics import interval, percentiles
from adamkit.lab.errors import InputError
from adamkit.lab.insight.charts import audit as charts
from tests.lab.comparing.test_compare import TABLE, Y, small
from tests.lab.some_models import compiled

REACHED = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.inf])


@given(st.lists(REACHED, min_size=1, max_size=6), REACHED)
def test_a_percentile_is_the_share_that_is_better_with_half_of_the_ties(population, value):
    better, equal = sum(one < value for one in population), sum(one == value for one in population)
    found = percentiles(np.array([value]), np.array(population)[:, None])
    np.testing.assert_allclose(found, 100 * (better + equal / 2) / len(population))


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    generator = np.random.default_rng(0)
    inside = [low <= 0 <= high for low, high in (interval(values) for values in generator.normal(size=(2000, 5)))]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert np.isnan(interval(np.array([1.0]))).all()
    assert np.isnan(interval(np.array([1.0, np.inf]))).all()


def made(grid, untuned, objective="val_loss", **changes):
    """An audit from what the settings of the grid, (settings, 2 seeds), and the optimizers reach on the test part.

    On the validation part the last setting is the best.
    """
    sign, column = (-1, objective[5:]) if objective.startswith("-") else (1, objective[4:])
    of_grid = {"optimizer": "grid", "stage": "grid"}
    runs = [
        of_grid | {"setting": i, "seed": s, "val": -sign * i, "test": value, "beta_1": 0.1 * i}
        for i, of_seeds in enumerate(grid)
        for s, value in enumerate(of_seeds)
    ] + [
        {"optimizer": name, "stage": "untuned", "setting": 0, "seed": s, "val": 0.0, "test": value, "beta_1": 0.9}
        for name, of_seeds in untuned.items()
        for s, value in enumerate(of_seeds)
    ]  # fmt: skip
    table = pd.DataFrame(runs).rename(columns={part: f"{part}_{column}" for part in ("val", "test")}).assign(loss=1.0)
    about = {"settings": [], "space": {"beta_1": "0.5 to 0.99"}, "ends": {}}
    described = {
        "objective": objective, "budget": len(grid), "seeds": len(grid[0]), "epochs": 1, "batch_size": 1, "seed": 0,
        "rows": [1, 1, 1], "start": {f"{part}_{column}": 4.0 for part in ("val", "test")}, "failures": {},
        "interrupted": False, "seconds": 1.0, "optimizers": dict.fromkeys(("grid", *untuned), about),
    }  # fmt: skip
    return Audit(table, table, described | changes)


def test_each_run_is_held_to_the_grid_and_the_tuned_setting_of_its_own_seed():
    audit = made([[1.0, 13.0], [2.0, 12.0], [3.0, 11.0]], {"adam": [2.5, 10.0]})
    own = audit.by_seed[audit.by_seed.optimizer == "adam"]
    np.testing.assert_allclose(own.percentile, [100 * 2 / 3, 0])
    np.testing.assert_allclose(own.cost, [-0.5, -1.0])  # less 3 and 11: the validation part chose the last setting
    tuned = audit.by_seed[audit.by_seed.optimizer == TUNED]
    assert tuned.test_loss.tolist() == [3.0, 11.0]
    np.testing.assert_allclose(tuned.percentile, [100 * 5 / 6, 100 / 6])
    row = audit.summary.set_index("optimizer").loc["adam"]
    np.testing.assert_allclose([row.percentile, row.lowest, row.highest], [100 / 3, 0, 200 / 3])
    assert row.beta_1 == 0.9
    assert np.isnan(audit.summary.set_index("optimizer").loc[TUNED].beta_1)
    assert "Untuned adam ends at the 33rd percentile (0 to 67 over 2 seeds)" in audit.verdict[1]


def test_the_verdict_tells_a_cost_from_luck():
    grid = [[2.0, 2.0], [1.0, 1.0]]
    audit = made(grid, {"costly": [3.0, 3.01], "same": [0.9, 1.2], "better": [0.5, 0.501]})
    assert audit.verdict[0] == (
        "Not tuning costs something beyond luck with costly, and costs nothing that 2 seeds can tell from luck "
        "with same, and beats tuning beyond luck with better."
    )
    assert "worse than tuned" in audit.verdict[3]  # the sentences have the order of the percentiles
    large = made(grid, {"costly": [0.2, 0.21], "better": [3.0, 3.01]}, "-val_accuracy")
    assert large.verdict[0] == (
        "Not tuning costs something beyond luck with costly, and beats tuning beyond luck with better."
    )
    assert large.summary.optimizer.tolist() == ["better", TUNED, "costly"]


def test_one_seed_tells_nothing_of_luck():
    audit = made([[1.0], [2.0]], {"adam": [5.0]})
    assert audit.verdict[0] == "What not tuning costs cannot be told from luck by one seed."
    assert "Untuned adam ends at the 100th percentile: its test loss of 5 is 3 worse than tuned." in audit.verdict


def test_a_run_that_diverged_is_worse_than_all_that_did_not():
    audit = made([[1.0, np.nan], [2.0, 1.0]], {"adam": [np.nan, np.inf]})
    assert audit.by_seed.percentile[audit.by_seed.optimizer == "adam"].tolist() == [100.0, 75.0]
    assert "costs something beyond luck with adam" in audit.verdict[0]
    assert "it diverges with a seed" in audit.verdict[1]


def test_the_chart_has_a_mark_for_each_run():
    audit = made([[1.0, 13.0], [2.0, np.nan], [3.0, 2.0]], {"adam": [2.5, np.nan]})
    lines, marks = charts.charts_of(audit)["grid"].to_dict()["datasets"].values()
    assert len(lines) == 6
    assert [mark["optimizer"] for mark in marks] == [TUNED, TUNED, "adam", "adam"]
    assert max(point["reached"] for point in (*lines, *marks)) == 4.0  # the untrained model


def test_an_audit_that_was_cut_off_before_its_grid_was_done_is_kept_and_says_so(tmp_path):
    audit = made([[1.0]], {"adam": [1.0]}, interrupted=True)
    del audit.described["optimizers"]["grid"]
    audit.save(tmp_path)
    loaded = Audit.load(tmp_path)
    assert len(loaded.summary) == len(loaded.by_seed) == 0
    assert loaded.verdict == ["The audit was interrupted: what was not finished is not in it."]
    with pytest.raises(InputError, match="must be the folder of a comparison that has ended"):
        lab.Comparison.load(tmp_path)


@pytest.mark.parametrize("name", [*OPTIMIZERS, "adam+cosine", "sgd+ema", "adam+weight-decay"])
def test_untuned_is_what_the_class_does_without_a_number(name):
    optimizer = named(name)
    made_by = Adam if optimizer.kind == "Adam" else getattr(keras.optimizers, optimizer.kind)
    config, untuned = made_by(**optimizer.fixed).get_config(), optimizer.untuned()
    usual = {
        "momentum": 0.9,
        "weight_decay": inspect.signature(keras.optimizers.AdamW).parameters["weight_decay"].default,
    }
    assert set(optimizer.space) <= set(untuned)
    for hyperparameter in optimizer.space:
        assert untuned[hyperparameter] == pytest.approx(config[hyperparameter] or usual[hyperparameter])
    assert untuned.get("cosine_alpha", 0.0) == 0.0


def test_the_name_of_the_grid_is_taken():
    mine = Optimizer("grid", "SGD", named("sgd").space)
    with pytest.raises(InputError, match="optimizers must have other names than"):
        lab.audit(None, TABLE, Y, optimizers=[mine], epochs=1)  # type: ignore[arg-type]


# Real ones, which compile.

OPTIONS = {"optimizers": "adam,sgd", "budget": 4, "epochs": 2, "batch_size": 16, "seeds": 2}


@pytest.fixture(scope="module")
def model():
    return compiled(small, {"loss": "mse", "metrics": ["mae"]}, "adam")


@pytest.fixture(scope="module")
def audited(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return lab.audit(model, TABLE, Y, folder=folder, **OPTIONS), folder


@pytest.mark.slow
def test_untuned_runs_are_those_of_fit_with_the_defaults(audited, model):
    """The first seed's start is the model as it stands; `lab.train` has the order of the same seed."""
    own = compiled(small, {"loss": "mse", "metrics": ["mae"]}, Adam())
    own.set_weights(model.get_weights())
    lab.train(own, TABLE[:32], Y[:32], epochs=2, batch_size=16)
    loss, mae = own.evaluate(TABLE[40:], Y[40:], verbose=0)
    runs = audited[0].runs.set_index(["optimizer", "seed"])
    np.testing.assert_allclose(runs.loc[("adam", 0), ["test_loss", "test_mae"]].astype(float), [loss, mae], rtol=1e-4)


@pytest.mark.slow
def test_the_grid_is_that_of_compare_trained_with_all_seeds(audited):
    runs = audited[0].runs
    grid = runs[runs.stage == "grid"]
    assert len(grid) == 4 * 2
    settings = named("adam").draw(4, 0)[1]
    for name in settings[0]:
        np.testing.assert_allclose(grid[grid.seed == 1].sort_values("setting")[name], [one[name] for one in settings])
    assert runs.groupby("optimizer").seed.nunique().tolist() == [2, 2, 2]


@pytest.mark.slow
def test_an_audit_is_read_again_and_goes_on_without_training(audited, model, monkeypatch):
    result, folder = audited
    loaded = lab.Audit.load(folder)
    pd.testing.assert_frame_equal(loaded.summary, result.summary)
    assert loaded.verdict == result.verdict
    assert pd.read_csv(folder / "by_seed.csv").optimizer.tolist() == result.by_seed.optimizer.tolist()
    monkeypatch.setattr("adamkit.lab.sweeping.chunks.Trainer._train_chunk", None)  # nothing is left to train
    again = lab.audit(model, TABLE, Y, folder=folder, **OPTIONS)
    pd.testing.assert_frame_equal(again.runs, result.runs, check_exact=True)
    with pytest.raises(InputError, match="folder must be new, or hold a part of this very sweep"):
        lab.audit(model, TABLE, Y, folder=folder, **(OPTIONS | {"budget": 8}))


@pytest.mark.slow
def test_a_notebook_shows_the_verdict_and_the_table(audited):
    html = audited[0]._repr_mimebundle_()["text/html"]
    assert html.count("<tr>") == 4
    assert "data:image/svg+xml;base64," in html


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"optimizers": "adma"}, InputError, "optimizers must be of"),
        ({"budget": 0}, ValueError, "budget must be a whole number >= 1. Received: budget=0"),
        ({"objective": "loss"}, InputError, "objective must be of the validation part"),
        ({"model": "mlp"}, TypeError, "model must be a compiled keras.Model"),
    ],
    ids=str,
)
def test_bad_input_is_named(model, changes, error, message):
    with pytest.raises(error, match=message):
        lab.audit(**({"model": model, "x": TABLE, "y": Y} | OPTIONS | changes))


@pytest.mark.slow
def test_the_example_in_the_docstring():
    assert doctest.testmod(module).failed == 0
