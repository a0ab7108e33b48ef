"""A sampler's batches as populations: the study and the sweep say the same, and a study can be gone on with."""

import keras
import numpy as np
import optuna
import pytest
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError

pytestmark = pytest.mark.slow  # seconds, all in all

optuna.logging.set_verbosity(optuna.logging.WARNING)
X = np.random.default_rng(0).normal(size=(96, 3)).astype("float32")
Y = (X @ np.array([1.0, -2.0, 0.5], "float32"))[:, None]
SPACE = {"learning_rate": "1e-4..1", "beta_1": "0.5..0.99"}
OPTIONS = {"epochs": 3, "batch_size": 32}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(optimizer=Adam(), loss="mse")
    return model


@pytest.fixture(scope="module")
def tuned(model):
    told = []
    result = lab.tune(model, X, Y, space=SPACE, n=20, batch=8, seeds=2, on_progress=told.append, **OPTIONS)
    return result, told


def test_trials_have_the_settings_and_values_of_the_sweep_in_its_order(tuned):
    result, _ = tuned
    assert len(result.study.trials) == len(result.settings) == len(result.summary) == 20
    for trial, row in zip(result.study.trials, result.summary.itertuples(), strict=True):
        assert trial.params["learning_rate"] == row.learning_rate
        assert 1 - trial.params["1 - beta_1"] == pytest.approx(row.beta_1, abs=1e-12)
        assert trial.value == pytest.approx(row.mean, rel=1e-12)
    assert result.study.best_trial.number == result.best().setting[0]


def test_each_setting_is_what_a_sweep_of_it_gives(tuned, model):
    result, _ = tuned
    again = lab.sweep(model, X, Y, space=result.settings, seeds=2, **OPTIONS)
    np.testing.assert_allclose(again.summary["mean"], result.summary["mean"], rtol=1e-4)


def test_models_are_those_of_their_settings_in_every_batch(tuned):
    result, _ = tuned
    last = result.history[(result.history.setting == 19) & (result.history.seed == 1)]
    trained = result.model(19, 1)
    assert trained.optimizer.beta_1 == pytest.approx(result.settings[19]["beta_1"])
    assert trained.evaluate(X, Y, verbose=0) < last.loss.iloc[0]
    with pytest.raises(ValueError, match="settings 0 to 19"):
        result.model(20)


def test_progress_is_told_after_each_batch(tuned):
    assert [(one.done, one.total) for one in tuned[1]] == [(16, 40), (32, 40), (40, 40)]


def test_a_study_in_a_file_is_gone_on_with_and_its_pruner_is_told_each_epoch(model, tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name="one", pruner=optuna.pruners.MedianPruner(4, 1))
    lab.tune(model, X, Y, space=SPACE, n=8, batch=8, study=study, **OPTIONS)
    lab.tune(model, X, Y, space=SPACE, n=8, batch=8, study=study, **OPTIONS)
    read = optuna.load_study(storage=storage, study_name="one")
    assert len(read.trials) == 16
    assert {trial.state.name for trial in read.trials} == {"COMPLETE", "PRUNED"}
    assert all(trial.intermediate_values for trial in read.trials)


def test_what_diverges_is_worse_than_all_that_does_not(model):
    space = {"learning_rate": [1e-3, 1e38]}
    result = lab.tune(model, X, Y, space=space, n=8, batch=8, sampler=optuna.samplers.RandomSampler(0), **OPTIONS)
    values = {trial.params["learning_rate"]: trial.value for trial in result.study.trials}
    assert np.isinf(values[1e38])
    assert result.study.best_params["learning_rate"] == 1e-3


def test_after_an_interrupt_what_was_finished_is_kept(model):
    def interrupt(progress):
        import signal

        signal.raise_signal(signal.SIGINT)

    result = lab.tune(model, X, Y, space=SPACE, n=24, batch=8, on_progress=interrupt, **OPTIONS)
    assert result.interrupted
    assert len(result.summary) == len(result.study.trials) == 8


def test_an_error_in_training_leaves_no_trial_open(model):
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    with pytest.raises(InputError, match="objective"):
        lab.tune(model, X, Y, space=SPACE, n=8, batch=4, study=study, objective="los", **OPTIONS)
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n": 0}, "n must be"),
        ({"batch": 0}, "batch must be"),
        ({"space": {}}, "space must have at least one"),
        ({"space": {"lerning_rate": "1e-4..1"}}, "learning_rate"),
        ({"study": optuna.create_study(direction="maximize")}, "study must minimize"),
        ({"study": optuna.create_study(), "sampler": optuna.samplers.RandomSampler()}, "a sampler or a study"),
    ],
)
def test_bad_input_is_named(model, wrong, words):
    with pytest.raises((ValueError, TypeError), match=words):
        lab.tune(model, X, Y, **{"space": SPACE, "n": 4, "batch": 4, **OPTIONS, **wrong})
