"""Many settings trained as one program give what each gives alone, and nothing of a long sweep is lost."""

import dataclasses
import doctest
import itertools
import json
import operator
import os
import shutil
import signal
import time

import jax
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.insight import reports
from adamkit.lab.sweeping import chunks, sealed, sweeper
from adamkit.lab.training.population import Program
from tests.lab.some_models import CASES, TABLE, compiled

pytestmark = pytest.mark.slow  # most of them compile

X, VALIDATION_X = TABLE[:40], TABLE[40:]
Y, VALIDATION_Y = (np.sin(x.sum(axis=1, keepdims=True)) for x in (X, VALIDATION_X))
VALIDATION = (VALIDATION_X, VALIDATION_Y)
RATES = np.geomspace(1e-4, 0.3, 10).tolist()
OPTIONS = {"epochs": 4, "batch_size": 20, "validation_data": VALIDATION}  # equal batches: one program


def small():
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(1)])


def small_relu():
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dense(1)])


def everything(model):
    optimizer = [np.array(v.value) for v in model.optimizer.variables]
    return [*model.get_weights(), *optimizer]


@pytest.fixture(scope="module")
def shared_model():
    """One model for all tests, so that sweeps of the same shapes are compiled once."""
    model = compiled(small, {"loss": "mse"}, Adam(0.01))
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def model(shared_model):
    """No sweep changes the model that it is given, also one that fails."""
    optimizer, before = shared_model.optimizer, everything(shared_model)
    yield shared_model
    assert shared_model.optimizer is optimizer
    for own, was in zip(everything(shared_model), before, strict=True):
        np.testing.assert_array_equal(own, was)


@pytest.fixture
def no_charts(monkeypatch):
    """They take seconds, and have tests of their own."""
    monkeypatch.setattr(reports, "attempt", lambda make, folder, warn: None)


def sweep(model, space, **changes):
    if isinstance(space, list) and not isinstance(space[0], dict):
        space = [{"learning_rate": rate} for rate in space]
    return lab.sweep(model, X, Y, space=space, **(OPTIONS | changes))


@pytest.fixture(scope="module")
def of_rates(shared_model):
    """What several tests compare with."""
    return sweep(shared_model, RATES)


def run_of(result, setting, seed=0):
    """(epochs,) of every figure of one run."""
    history = result.history
    rows = history.loc[(history.setting == setting) & (history.seed == seed)]
    assert rows.epoch.tolist() == list(range(1, len(rows) + 1))
    first = list(history.columns).index("epoch") + 1
    return {name: rows[name].to_numpy() for name in history.columns[first:]}


def assert_same_run(ours, theirs, rtol=1e-5):
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-6, err_msg=name)


def assert_same_bits(ours, theirs):
    pd.testing.assert_frame_equal(ours.history, theirs.history, check_exact=True)


def fitted(make, objective, optimizer, x, y, **options):
    model = compiled(make, objective, optimizer)
    return model.fit(x, y, verbose=0, shuffle=False, **options).history


# Each setting as if alone.


def test_ten_settings_drawn_at_random_agree_with_fit(model):
    space = {
        "learning_rate": "1e-4..1e-1", "beta_1": "0..0.99", "beta_2": "0.5..0.9999", "epsilon": "1e-8..1e-2",
        "weight_decay": "1e-4..0.3",
    }  # fmt: skip
    settings = lab.spaces.draw(space, 10, method="random", seed=7)
    options = OPTIONS | {"batch_size": 16}  # and a last, smaller one
    result = sweep(model, settings, shuffle=False, **options)
    for number in (0, 4, 8):  # `fit` compiles anew for each
        theirs = fitted(small, {"loss": "mse"}, Adam(**settings[number]), X, Y, **options)
        assert_same_run(run_of(result, number), theirs, rtol=1e-4)
    alone = compiled(small, {"loss": "mse"}, Adam(**settings[0]))
    alone.optimizer.build(alone.trainable_variables)
    start = [(v, np.array(v.value)) for v in (*alone.variables, *alone.optimizer.variables)]
    for number, setting in enumerate(settings):  # `train`, which agrees with it, does not
        for variable, value in start:
            variable.assign(value)
        for name, value in setting.items():
            setattr(alone.optimizer, name, value)
        history = lab.train(alone, X, Y, shuffle=False, **options).history.drop(columns=["epoch", "seconds"])
        assert_same_run(run_of(result, number), {name: history[name] for name in history}, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_model_agrees_with_fit(case):
    make, objective, x, y = CASES[case]
    objective = {"loss": objective["loss"]}  # metrics are compared in test_trainer.py
    options = {"epochs": 3, "batch_size": 25}
    settings = [{"learning_rate": rate, "beta_1": beta} for rate, beta in ((0.1, 0.5), (0.003, 0.8), (1e-4, 0.0))]
    result = lab.sweep(compiled(make, objective, Adam()), x, y, space=settings, shuffle=False, **options)
    theirs = fitted(make, objective, Adam(**settings[1]), x, y, **options)
    assert_same_run(run_of(result, 1), theirs, rtol=1e-4)


def test_batch_size_and_amsgrad_group_settings_and_agree_with_train(model):
    space = {"batch_size": [8, 40], "amsgrad": [True, False], "learning_rate": [0.01, 0.1]}
    result = sweep(model, space, seed=5)
    assert len(result.settings) == 8
    for number in (1, 3, 5, 7):
        setting = dict(result.settings[number])
        options = OPTIONS | {"batch_size": setting.pop("batch_size"), "seed": 5}
        alone = compiled(small, {"loss": "mse"}, Adam(**setting))
        history = lab.train(alone, X, Y, **options).history.drop(columns=["epoch", "seconds"])
        assert_same_run(run_of(result, number), {name: history[name] for name in history})
        assert result.model(number).optimizer.amsgrad is setting["amsgrad"]


def test_a_schedule_is_that_of_keras(model):
    steps = 4 * 2
    space = {"learning_rate": [0.05], "warmup_steps": [0, 3], "cosine_alpha": [0.1]}
    result = sweep(model, space, shuffle=False)
    for number, schedule in enumerate(
        (
            keras.optimizers.schedules.CosineDecay(0.05, steps, alpha=0.1),
            keras.optimizers.schedules.CosineDecay(0.0, steps - 3, alpha=0.1, warmup_target=0.05, warmup_steps=3),
        )
    ):
        theirs = fitted(small, {"loss": "mse"}, Adam(schedule), X, Y, **OPTIONS)
        assert_same_run(run_of(result, number), theirs, rtol=1e-4)


def test_a_schedule_that_changes_nothing_leaves_the_learning_rate(model, of_rates):
    settings = [{"learning_rate": rate, "warmup_steps": 0, "cosine_alpha": 1.0} for rate in RATES]
    result = sweep(model, settings)
    for number in range(len(RATES)):
        assert_same_run(run_of(result, number), run_of(of_rates, number))


def test_the_learning_rate_of_any_optimizer_of_keras_can_be_swept():
    make_optimizer = keras.optimizers.RMSprop
    result = sweep(compiled(small, {"loss": "mse"}, make_optimizer()), [0.1, 0.01], shuffle=False)
    theirs = fitted(small, {"loss": "mse"}, make_optimizer(0.01), X, Y, **OPTIONS)
    assert_same_run(run_of(result, 1), theirs, rtol=1e-4)


def test_inside_a_loss_scaler_adam_is_swept_too():
    def scaled(setting):
        return keras.optimizers.LossScaleOptimizer(Adam(**setting), initial_scale=8.0)

    settings = lab.spaces.grid({"learning_rate": [0.1, 0.001], "beta_1": [0.5], "amsgrad": [True, False]})
    result = sweep(compiled(small, {"loss": "mse"}, scaled({})), settings, shuffle=False)
    for number in (0, 3):
        theirs = fitted(small, {"loss": "mse"}, scaled(settings[number]), X, Y, **OPTIONS)
        assert_same_run(run_of(result, number), theirs, rtol=1e-4)
        own = result.model(number).optimizer.inner_optimizer
        assert (own.beta_1, own.amsgrad) == (0.5, settings[number]["amsgrad"])


@pytest.mark.parametrize(
    ("workers", "smallest", "expected"),
    [(1, 10, 10), (1, 1, 1), pytest.param(2, 4, 3, marks=pytest.mark.slow)],
    ids=["all at once", "one by one", "the last chunk filled up"],
)
def test_a_setting_gives_the_same_in_chunks_of_any_size(model, of_rates, monkeypatch, workers, smallest, expected):
    monkeypatch.setattr(chunks, "_BYTES_IN_CACHE", 1)
    monkeypatch.setattr(chunks, "_SMALLEST", smallest)
    monkeypatch.setattr(chunks, "_workers", lambda: [None] * workers)
    sizes = []
    train = chunks.Trainer.train
    monkeypatch.setattr(
        chunks.Trainer, "train", lambda self, works, size, *rest: sizes.append(size) or train(self, works, size, *rest)
    )
    result = sweep(model, RATES)
    assert sizes == [expected]
    for number in range(len(RATES)):
        assert_same_run(run_of(result, number), run_of(of_rates, number))


def test_a_setting_alone_gives_the_same(model, of_rates):
    for number in (0, 7):
        assert_same_run(run_of(sweep(model, RATES[number : number + 1]), 0), run_of(of_rates, number))


def test_with_shuffling_it_is_train_with_the_same_seed(of_rates):
    alone = compiled(small, {"loss": "mse"}, Adam(RATES[8]))
    history = lab.train(alone, X, Y, **OPTIONS).history.drop(columns=["epoch", "seconds"])
    assert_same_run(run_of(of_rates, 8), {name: history[name] for name in history})


@pytest.mark.parametrize("rate", [1e20, 3e38])
def test_a_setting_that_diverges_changes_no_bit_of_the_others(model, of_rates, rate):
    replaced = 4
    result = sweep(model, [*RATES[:replaced], rate, *RATES[replaced + 1 :]])
    assert not np.isfinite(run_of(result, replaced)["val_loss"][-1])
    for number in set(range(len(RATES))) - {replaced}:
        ours, theirs = run_of(result, number), run_of(of_rates, number)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
    row = result.summary.loc[replaced]
    assert (row["mean"], row.diverged) == (np.inf, 1)
    assert replaced not in result.best(9).setting.tolist()


# Starts and orders.


def test_settings_share_start_and_order_unless_told_otherwise(model):
    twins = [0.01, 0.01]
    same = sweep(model, twins)
    other_order = sweep(model, twins, same_order=False)
    other_start = sweep(model, twins, same_start=False)
    losses = [[run_of(result, number)["loss"] for number in (0, 1)] for result in (same, other_order, other_start)]
    np.testing.assert_array_equal(*losses[0])
    # Before the first step the losses agree, and after it they do not.
    assert not np.allclose(*losses[1], rtol=1e-4)
    assert not np.allclose(losses[2][0][:1], losses[2][1][:1], rtol=1e-2)
    np.testing.assert_array_equal(losses[2][0], losses[0][0])  # the first starts as the model stands
    assert_same_bits(sweep(model, twins, same_order=False), other_order)
    assert_same_bits(sweep(model, twins, same_start=False), other_start)


def test_the_first_seed_is_the_model_as_it_stands_and_the_others_differ(model):
    rates = RATES[6:8]
    one, three = sweep(model, rates), sweep(model, rates, seeds=3)
    for number in (0, 1):
        assert_same_run(run_of(three, number), run_of(one, number))
        losses = np.array([run_of(three, number, seed)["loss"] for seed in range(3)])
        assert (np.abs(np.diff(losses[:, 0])) > 1e-3).all()
    assert_same_bits(sweep(model, rates, seeds=3), three)
    other = sweep(model, rates, seeds=3, seed=1)
    assert not np.allclose(run_of(other, 0)["loss"], run_of(three, 0)["loss"], rtol=1e-6)
    assert not np.allclose(run_of(other, 0, 1)["loss"], run_of(three, 0, 1)["loss"], rtol=1e-3)
    last = three.history.loc[(three.history.setting == 0) & (three.history.epoch == 4)].val_loss
    row = three.summary.loc[0]
    np.testing.assert_allclose([row["mean"], row["std"]], [last.mean(), last.std(ddof=0)])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator trains many at once")
def test_settings_of_a_large_model_are_trained_one_after_the_other(model, of_rates, monkeypatch):
    monkeypatch.setattr(chunks, "_BYTES_ALONE", 1)
    apart = sweep(model, RATES[:3])
    assert (apart.at_once, of_rates.at_once > 1) == (1, True)
    for number in range(3):
        assert_same_run(run_of(apart, number), run_of(of_rates, number))


def test_the_orders_of_many_settings_are_drawn_for_each_alone(model, monkeypatch):
    """So that a chunk's size and number change none."""
    rates = RATES[:4]
    together = sweep(model, rates, same_order=False, same_start=False)
    monkeypatch.setattr(chunks, "_SMALLEST", 1)
    monkeypatch.setattr(chunks, "_BYTES_IN_CACHE", 1)
    apart = sweep(model, rates, same_order=False, same_start=False)
    for number in range(4):
        assert_same_run(run_of(apart, number), run_of(together, number))


# Halving and patience.


def values_at(result, epoch):
    """The mean objective of each setting after an epoch, by an independent way: a pivot table."""
    rows = result.history.loc[result.history.epoch == epoch]
    return rows.pivot_table(index="setting", values="val_loss", aggfunc="mean").val_loss


def test_halving_keeps_the_best_of_each_rung_and_changes_none_of_them(model):
    rates, options = RATES[1:], {"epochs": 9, "seeds": 2}
    whole, halved = (sweep(model, rates, halving=halving, **options) for halving in (None, 3))
    third = sorted(values_at(whole, 1).nsmallest(3).index)
    winner = values_at(whole, 3)[third].idxmin()
    epochs = [9 if number == winner else 3 if number in third else 1 for number in range(9)]
    assert halved.summary.epochs.tolist() == epochs
    for number, reached in enumerate(epochs):
        for seed in range(2):
            theirs = {name: values[:reached] for name, values in run_of(whole, number, seed).items()}
            assert_same_run(run_of(halved, number, seed), theirs)
    assert halved.best(5).setting.tolist() == [winner]
    for number in (winner, third[0]):
        loss = halved.model(number, 1).evaluate(*VALIDATION, verbose=0)
        np.testing.assert_allclose(loss, run_of(halved, number, 1)["val_loss"][-1], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "epochs", "halving", "expected"),
    [(9, 27, 3, [3, 9, 27]), (2, 16, 2, [8, 16]), (1, 5, 2, [5]), (1000, 3, 2, [1, 3]), (8, 1, 2, [1])],
)
def test_a_rung_leaves_at_least_an_epoch_and_a_setting(settings, epochs, halving, expected):
    assert sweeper.rungs_of(epochs, halving, settings) == expected


@pytest.mark.parametrize("moment_dtype", ["bfloat16", "int8"])
def test_moments_of_any_format_go_on_from_rung_to_rung(moment_dtype):
    narrow = compiled(small, {"loss": "mse"}, Adam(moment_dtype=moment_dtype))
    whole, halved = (sweep(narrow, RATES[5:9], halving=halving) for halving in (None, 4))
    winner = int(halved.best().setting[0])
    assert_same_run(run_of(halved, winner), run_of(whole, winner))


def after_patience(values, patience):
    """How many epochs a run does: it ends with the first that is `patience` epochs after the best before it."""
    for epoch in range(len(values)):
        best = int(np.argmin([np.inf, *np.nan_to_num(values[: epoch + 1], nan=np.inf)]))
        if epoch + 1 - best >= patience:
            return epoch + 1
    return len(values)


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_ends_a_run_after_epochs_without_a_smaller_objective(model, patience):
    rates, options = [*RATES[1:-1], 1e20], {"epochs": 9, "seeds": 2}
    whole, ended = (sweep(model, rates, patience=epochs, **options) for epochs in (None, patience))
    reached = []
    for number, seed in itertools.product(range(len(rates)), range(2)):
        own, theirs = run_of(ended, number, seed), run_of(whole, number, seed)
        reached.append(after_patience(theirs["val_loss"], patience))
        assert_same_run(own, {name: values[: reached[-1]] for name, values in theirs.items()})
    assert len(set(reached)) > 2
    assert ended.summary.epochs.tolist() == np.reshape(reached, (-1, 2)).max(axis=1).tolist()
    assert ended.best().setting[0] == ended.summary["mean"].idxmin()  # also if others went on for longer
    for number in (0, reached.index(min(reached)) // 2, 7):
        loss = ended.model(number, 1).evaluate(*VALIDATION, verbose=0)
        np.testing.assert_allclose(loss, run_of(ended, number, 1)["val_loss"][-1], rtol=1e-5)


@pytest.mark.parametrize("patience", [2, 3])
def test_a_run_that_patience_ended_is_ranked_at_each_rung_and_goes_no_further(model, patience):
    """The objective gets worse from epoch to epoch, so that all end, at a rung or after it: patience counts on."""
    rates, options = RATES[1:], {"epochs": 9, "seeds": 2, "patience": patience, "objective": "-loss"}
    alone, halved = (sweep(model, rates, halving=halving, **options) for halving in (None, 3))

    def ranked_at(epoch):  # with the last that each run has by then
        rows = alone.history.loc[alone.history.epoch <= epoch].groupby(["setting", "seed"]).loss.last()
        return -rows.groupby("setting").mean()

    third = ranked_at(1).nsmallest(3).index
    winner = ranked_at(3)[third].idxmin()
    for number, seed in itertools.product(range(9), range(2)):
        epochs = 9 if number == winner else 3 if number in third else 1
        theirs = run_of(alone, number, seed)
        assert_same_run(run_of(halved, number, seed), {name: values[:epochs] for name, values in theirs.items()})
    assert halved.summary.epochs[winner] == max(len(run_of(alone, winner, seed)["loss"]) for seed in range(2)) < 9
    assert halved.best(2).setting.tolist() == [winner]


# The result.


def test_the_result_says_all_of_every_run(model, of_rates, tmp_path):
    history = of_rates.history
    assert list(history) == ["setting", "seed", "learning_rate", "epoch", "loss", "val_loss"]
    assert len(history) == 4 * len(RATES)
    assert history.learning_rate.tolist() == np.repeat(RATES, 4).tolist()
    assert history.drop_duplicates(["setting", "seed", "epoch"]).shape == history.shape
    summary = of_rates.summary
    assert summary.setting.tolist() == list(range(len(RATES)))
    np.testing.assert_array_equal(summary["mean"], history.val_loss[history.epoch == 4])
    assert of_rates.best(3).setting.tolist() == summary["mean"].nsmallest(3).index.tolist()
    assert (of_rates.objective, of_rates.interrupted, of_rates.folder) == ("val_loss", False, None)
    of_rates.to_parquet(tmp_path / "history.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "history.parquet"), history, check_exact=True)
    assert of_rates.sensitivity() is not None


def test_any_setting_gives_its_trained_model(model, of_rates):
    for number in (0, 9):
        trained = of_rates.model(number)
        assert trained is not model
        loss = trained.evaluate(*VALIDATION, verbose=0)
        np.testing.assert_allclose(loss, run_of(of_rates, number)["val_loss"][-1], rtol=1e-5)
        assert float(trained.optimizer.learning_rate) == np.float32(RATES[number])
    for place in ({"setting": 10}, {"setting": 0, "seed": 1}, {"setting": -1}):
        with pytest.raises(ValueError, match=f"settings 0 to 9. Received: setting={place['setting']}"):
            of_rates.model(**place)


class Held(keras.Model):
    """It cannot be made from its configuration: it has none of the layer that it was given."""

    def __init__(self, hold):
        super().__init__()
        self.hold, self.out = hold, layers.Dense(1)

    def call(self, x):
        return self.out(self.hold(x))

    def get_config(self):
        raise NotImplementedError("no configuration")


def test_a_model_without_a_configuration_gets_the_weights_itself():
    held = compiled(lambda: Held(operator.neg), {"loss": "mse"}, Adam())
    result = sweep(held, [0.001, 0.1])
    trained = result.model(1)
    assert trained is held
    np.testing.assert_allclose(held.evaluate(*VALIDATION, verbose=0), run_of(result, 1)["val_loss"][-1], rtol=1e-5)
    with pytest.raises(InputError, match=r"(?s)Held must have get_config and from_config.*no configuration"):
        sweep(held, [0.1], seeds=2)


def test_a_minus_before_the_objective_looks_for_the_largest():
    signs = (Y > 0).astype("float32")
    made = compiled(small, {"loss": keras.losses.BinaryCrossentropy(from_logits=True), "metrics": ["accuracy"]}, Adam())
    result = lab.sweep(made, X, signs, space={"learning_rate": RATES}, epochs=3, batch_size=20, objective="-accuracy")
    last = result.history.loc[result.history.epoch == 3].accuracy.to_numpy()
    np.testing.assert_array_equal(result.summary["mean"], -last)
    assert result.best().setting[0] == np.argmax(last)


# Progress, Ctrl-C and taking up again.


@pytest.fixture
def trained_chunks(monkeypatch):
    """The names of the chunks that were trained to their end."""
    names = []
    train_chunk = chunks.Trainer._train_chunk

    def noted(self, work, *arguments):
        result = train_chunk(self, work, *arguments)
        if result is not None:
            names.append(work.chunk.name)
        return result

    monkeypatch.setattr(chunks.Trainer, "_train_chunk", noted)
    monkeypatch.setattr(chunks, "_SMALLEST", 2)
    monkeypatch.setattr(chunks, "_BYTES_IN_CACHE", 1)
    return names


def finished_parts(folder):
    return {path.stem for path in (folder / "parts").glob("*.parquet")}


def test_progress_counts_runs_up_to_all(model, trained_chunks):
    seen = []
    result = sweep(model, RATES, seeds=2, on_progress=seen.append)
    assert [progress.done for progress in seen] == np.linspace(0, 20, len(trained_chunks) + 1)[1:].tolist()
    assert {progress.total for progress in seen} == {20}
    assert all(before.seconds < after.seconds for before, after in itertools.pairwise(seen))
    pd.testing.assert_frame_equal(seen[-1].summary, result.summary)


@pytest.mark.parametrize(
    "options",
    [{}, {"halving": 2, "seeds": 2, "objective": "-loss"}],
    ids=["plain", "halving"],  # where those that go on get worse
)
@pytest.mark.usefixtures("no_charts")
def test_a_sweep_that_failed_is_taken_up_again_with_nothing_run_twice(model, tmp_path, trained_chunks, options):
    undisturbed = sweep(model, RATES, **options)
    in_all = sorted(trained_chunks)
    trained_chunks.clear()
    for stop_after in (1, len(in_all) - 3, 1):
        left = [stop_after]

        def fail(progress, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise RuntimeError("the disk is full")

        before = finished_parts(tmp_path)
        trained_chunks.clear()
        with pytest.raises(RuntimeError, match="the disk is full"):
            sweep(model, RATES, folder=tmp_path, on_progress=fail, **options)
        assert len(finished_parts(tmp_path) - before) == stop_after
        assert not before & set(trained_chunks)
    before = finished_parts(tmp_path)
    trained_chunks.clear()
    result = sweep(model, RATES, folder=tmp_path, **options)
    assert sorted([*before, *trained_chunks]) == in_all
    assert_same_bits(result, undisturbed)
    trained_chunks.clear()
    assert_same_bits(sweep(model, RATES, folder=tmp_path, **options), undisturbed)
    assert trained_chunks == []
    kept = pd.read_parquet(tmp_path / "history.parquet")
    pd.testing.assert_frame_equal(kept, undisturbed.history, check_exact=True)
    assert pd.read_csv(tmp_path / "summary.csv").setting.tolist() == list(range(len(RATES)))
    number = int(result.best().setting[0])
    for own, other in zip(result.model(number).get_weights(), undisturbed.model(number).get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.usefixtures("no_charts")
def test_ctrl_c_keeps_what_is_finished(model, tmp_path, trained_chunks):
    undisturbed = sweep(model, RATES)
    before = signal.getsignal(signal.SIGINT)

    def press_once(progress):
        if signal.getsignal(signal.SIGINT) is not before:  # a second Ctrl-C would be Python's own
            signal.raise_signal(signal.SIGINT)

    result = sweep(model, RATES, folder=tmp_path, on_progress=press_once)
    assert signal.getsignal(signal.SIGINT) is before
    assert result.interrupted
    finished = result.summary.setting.tolist()
    assert 0 < len(finished) < len(RATES)
    rows = undisturbed.history.loc[undisturbed.history.setting.isin(finished)].reset_index(drop=True)
    pd.testing.assert_frame_equal(result.history, rows, check_exact=True)
    with pytest.raises(ValueError, match="must be of a finished run"):
        result.model(next(number for number in range(10) if number not in finished))
    whole = sweep(model, RATES, folder=tmp_path)
    assert not whole.interrupted
    assert_same_bits(whole, undisturbed)


@pytest.mark.usefixtures("no_charts")
def test_ctrl_c_before_anything_is_finished_leaves_an_empty_history(model, tmp_path, monkeypatch):
    train_chunk = chunks.Trainer._train_chunk

    presses = iter([signal.SIGINT])  # a second would end it at once

    def press(self, work, size, device, is_to_end):
        for sign in presses:
            os.kill(os.getpid(), sign)
        while not is_to_end():
            time.sleep(0.001)
        return train_chunk(self, work, size, device, is_to_end)

    monkeypatch.setattr(chunks.Trainer, "_train_chunk", press)
    result = sweep(model, RATES, folder=tmp_path)
    assert result.interrupted
    assert list(result.history) == ["setting", "seed", "learning_rate", "epoch", "loss", "val_loss"]
    assert list(result.summary) == ["setting", "learning_rate", "mean", "std", "diverged", "epochs"]
    assert len(result.history) == len(result.summary) == len(result.best()) == 0


@pytest.mark.usefixtures("no_charts", "trained_chunks")
def test_only_this_very_sweep_goes_on_in_a_folder(model, tmp_path):
    result = sweep(model, RATES, folder=tmp_path)
    (tmp_path / "parts" / ".123.0-0-0-00000.npz").write_bytes(b"cut off")
    (tmp_path / "parts" / "0-0-0-00001.parquet").unlink()  # killed between the two files of a chunk
    assert_same_bits(sweep(model, RATES, folder=tmp_path), result)
    changed_x = X.copy()
    changed_x[0, 0] += 1
    for changes in ({"epochs": 5}, {"seed": 1}, {"seeds": 2}, {"halving": 2}, {"same_order": False}):
        with pytest.raises(InputError, match="folder must be new, or hold a part of this very sweep"):
            sweep(model, RATES, folder=tmp_path, **changes)
    with pytest.raises(InputError, match="folder must be new"):
        sweep(model, RATES[:-1], folder=tmp_path)
    with pytest.raises(InputError, match="folder must be new"):
        lab.sweep(model, changed_x, Y, space=[{"learning_rate": rate} for rate in RATES], folder=tmp_path, **OPTIONS)
    as_it_was = {"loss": "mse"}
    for make, objective in (
        (small, {"loss": "mae"}),
        (small, as_it_was | {"loss_weights": 2.0}),
        (small_relu, as_it_was),
    ):
        other = compiled(make, objective, Adam(0.01))
        with pytest.raises(InputError, match="folder must be new"):
            sweep(other, RATES, folder=tmp_path)
    made_again = compiled(small, as_it_was, Adam(0.01))  # as another process would
    assert_same_bits(sweep(made_again, RATES, folder=tmp_path), result)


@pytest.mark.tried(
    "parts cut, altered, copied, resealed, linked, `plan.json` with odd sizes",
    "trained again, the same bits, a warning",
)
@pytest.mark.usefixtures("no_charts")
def test_parts_that_are_not_as_they_were_written_are_trained_again_to_the_same_bits(model, tmp_path, trained_chunks):
    options = {"halving": 2, "folder": tmp_path}
    result = sweep(model, RATES, **options)
    parts = tmp_path / "parts"
    whole = {path.name: path.read_bytes() for path in parts.iterdir()}
    first, *_, last = sorted(path.name for path in parts.glob("*.parquet"))
    weights = first.replace("parquet", "npz")

    def rewritten(name, change):
        change(table := pd.read_parquet(parts / name))
        table.to_parquet(parts / name, index=False)

    def resealed(**changes):
        history, seal = sealed.read(parts / first)
        sealed.write(parts / first, history, dataclasses.replace(seal, **changes))

    def planned(text):
        (parts / "plan.json").write_text(text)

    def linked():
        (parts / first).rename(parts / "aside")
        (parts / first).symlink_to("aside")

    plan = json.loads(whole["plan.json"])
    sizes = plan["chunk_sizes"]
    odd = [dict.fromkeys(sizes, -3), dict.fromkeys(sizes, 10**9), dict.fromkeys(sizes, "4"), [], None]
    cases = [
        (1, "is damaged", lambda: (parts / first).write_bytes(whole[first][:-100])),
        (1, "damaged weights", lambda: (parts / weights).write_bytes(whole[weights][:-1])),
        (1, "damaged weights", lambda: (parts / weights).write_bytes(b"\1" + whole[weights][1:])),
        (1, "without its weights", lambda: (parts / weights).unlink()),
        (1, "without a checksum", lambda: rewritten(last, lambda table: table.__setitem__("loss", 0.0))),
        (1, f"a copy of {last}", lambda: (parts / first).write_bytes(whole[last])),
        (0, f"a copy of {first}", lambda: (parts / "0-0-0-99999.parquet").write_bytes(whole[first])),
        (1, "of another sweep", lambda: resealed(sweep="0" * 32)),
        (1, "of 999 runs, and the plan says", lambda: resealed(size=999)),
        (1, "no file of its own", linked),
        *((0, "plan.json is damaged", lambda text=text: planned(text)) for text in ("{", "[]", "{}", "1" * 5000)),
        *((0, "plan.json is damaged", lambda odd=odd: planned(json.dumps(plan | {"chunk_sizes": odd}))) for odd in odd),
    ]
    for again, said, damage in cases:
        trained_chunks.clear()
        damage()
        with pytest.warns(RuntimeWarning, match=f"what is not as the sweep left it is trained again: .*{said}"):
            assert_same_bits(sweep(model, RATES, **options), result)
        assert len(trained_chunks) == again, said
        for path in parts.iterdir():
            path.unlink()
        for name, content in whole.items():
            (parts / name).write_bytes(content)
    assert_same_bits(sweep(model, RATES, **options), result)  # as it was, without a warning

    planned("{")
    resealed(sweep="0" * 32)
    with pytest.raises(InputError, match="folder must be new, or hold a part of this very sweep"):
        sweep(model, RATES, **options)
    shutil.rmtree(parts)
    parts.symlink_to(tmp_path)
    with pytest.raises(InputError, match="must be a folder, and is a symbolic link"):
        sweep(model, RATES, **options)


def test_every_value_of_the_data_counts(model):
    def fingerprint(x, y):
        return sweeper._fingerprint(model, (x, y, None), None, [{"learning_rate": 0.1}], {})

    @given(rows=st.integers(1, 30_000), data=st.data())
    @settings(max_examples=20)
    def holds(rows, data):
        x, y = np.zeros((rows, 2), np.float32), np.zeros(rows, np.float32)
        before = fingerprint(x, y)
        (x if data.draw(st.booleans()) else y)[data.draw(st.integers(0, rows - 1))] = 1
        assert fingerprint(x, y) != before

    holds()


# Memory.


def test_too_little_memory_for_one_setting_says_the_bytes(model):
    with pytest.raises(InputError, match=r"memory must hold at least one setting, [\d,]+ bytes beside the data"):
        sweep(model, RATES, memory=100)


def test_memory_bounds_how_many_are_trained_at_once_and_larger_data_are_streamed(model, tmp_path, monkeypatch):
    rows = 1600
    x = np.memmap(tmp_path / "x", "float32", "w+", shape=(rows, 6))
    x[:] = np.random.default_rng(1).normal(size=x.shape)
    y = np.sin(x.sum(axis=1, keepdims=True))
    options = {"space": {"learning_rate": RATES}, "epochs": 2, "batch_size": 16}
    monkeypatch.setattr(chunks, "_workers", lambda: [None, None])
    with pytest.raises(InputError, match="memory must hold") as error:
        lab.sweep(model, x, y, memory=100, **options)
    for_one = int(str(error.value).split("setting, ")[1].split(" bytes")[0].replace(",", ""))
    memory = 2 * int(1.2 * for_one)
    assert x.nbytes + y.nbytes > memory / 4  # the share for data
    in_memory = lab.sweep(model, x, y, **options)
    sizes, part_bytes = [], []
    train, train_streamed = chunks.Trainer.train, Program.train_streamed

    def noted(self, members, parts, batch_size):
        def looked_at():
            for data, order in parts:
                part_bytes.append(sum(array.nbytes for array in jax.tree.leaves(data)))
                yield data, order

        return train_streamed(self, members, looked_at(), batch_size)

    monkeypatch.setattr(Program, "train_streamed", noted)
    monkeypatch.setattr(
        chunks.Trainer, "train", lambda self, works, size, *rest: sizes.append(size) or train(self, works, size, *rest)
    )
    streamed = lab.sweep(model, x, y, memory=memory, **options)
    for number in range(len(RATES)):
        assert_same_run(run_of(streamed, number), run_of(in_memory, number))
    assert sizes[0] < 5  # which is what the caches hold
    assert len(part_bytes) > 2 * len(RATES) / sizes[0]
    assert max(part_bytes) * 2 <= memory


# Bad input.


class OnTheHost(layers.Layer):
    """It leaves JAX, for which JAX knows no mapped form."""

    def call(self, x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def test_a_layer_that_cannot_be_mapped_is_named():
    def on_the_host():
        return keras.Sequential([layers.Dense(2), OnTheHost(), layers.Dense(1)])

    with pytest.raises(
        InputError, match=r"(?s)cannot be trained as a population, for its layer .*OnTheHost.*model\.fit"
    ):
        sweep(compiled(on_the_host, {"loss": "mse"}, Adam()), RATES)


def test_another_backend_is_named(model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match=r"Keras on JAX \(environment variable KERAS_BACKEND=jax\).*Keras on torch"):
        sweep(model, RATES)


@pytest.mark.parametrize(
    ("optimizer", "space", "message"),
    [
        ("adam", {"momentum": [0.9]}, "momentum can be swept in a .* whose optimizer has it. Received: .*Adam, which"),
        ("sgd", {"amsgrad": [True]}, "amsgrad can be swept in .*SGD, which has .*momentum"),
        (
            Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)),
            {"warmup_steps": [3]},
            "can be swept where the optimizer's learning rate is a number. Received: CosineDecay",
        ),
    ],
    ids=["Keras's Adam", "SGD", "a schedule"],
)
def test_what_the_optimizer_does_not_have_is_named(optimizer, space, message):
    with pytest.raises(InputError, match=message):
        sweep(compiled(small, {"loss": "mse"}, optimizer), space)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"objective": "accuracy"}, InputError, "objective must be one of loss, val_loss, .*Received: 'accuracy'"),
        ({"objective": "val_loss", "validation_data": None}, InputError, "objective must be one of loss, or"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number >= 1. Received: epochs=0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be a whole number"),
        ({"seeds": 0}, ValueError, "seeds must be a whole number >= 1"),
        ({"halving": 1}, ValueError, "halving must be a whole number >= 2. Received: halving=1"),
        ({"patience": 0}, ValueError, "patience must be a whole number >= 1"),
        ({"memory": -1}, ValueError, "memory must be a whole number >= 1"),
        ({"x": X[:-1]}, ValueError, "training data must have the same number of rows"),
        ({"x": X[:, :5]}, ValueError, "expected axis -1 of input shape to have value 6|incompatible with the layer"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be >= 0 and < 1"),
        ({"validation_data": VALIDATION[:1]}, ValueError, r"validation_data must be \(x, y\)"),
        ({"validation_data": (VALIDATION_X[:, :5], VALIDATION_Y)}, ValueError, "incompatible|expected axis"),
        ({"space": {}}, InputError, "space must have at least one"),
        ({"space": {"gamma": [0.9]}}, InputError, "hyperparameter must be one of"),
        ({"space": {"beta_1": [1.0]}}, InputError, "beta_1"),
        ({"model": keras.Sequential([keras.Input((6,))])}, ValueError, "model must be compiled"),
        ({"model": "mlp"}, TypeError, "model must be a compiled keras.Model"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(model, changes, error, message):
    arguments = {"model": model, "x": X, "y": Y, "space": {"learning_rate": RATES}} | OPTIONS | changes
    with pytest.raises(error, match=message):
        lab.sweep(**arguments)


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(sweeper).failed == 0


def test_a_model_of_a_sweep_has_averaged_weights_where_fit_would_leave_them():
    make, objective, x, y = CASES["dropout and batch normalization"]

    def fresh():
        return compiled(make, objective, Adam(0.01, use_ema=True))

    options = {"epochs": 2, "batch_size": 25, "shuffle": False}
    result = lab.sweep(fresh(), x, y, space={"learning_rate": [0.003, 0.01]}, **options)
    single = fresh()
    lab.train(single, x, y, **options)
    for own, other in zip(result.model(1).get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)
