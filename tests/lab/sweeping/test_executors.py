"""What a sweep does with chunks that whoever trains them gives back untrained."""

import contextlib

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping.executors import CannotTrainError, Failed, Threads

pytestmark = pytest.mark.slow  # they compile

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = np.sin(X.sum(axis=1, keepdims=True))
SETTINGS = [{"learning_rate": rate, "batch_size": size} for size in (8, 16) for rate in (0.001, 0.01, 0.02, 0.03)]


class Reluctant:
    """This machine's threads, but for what they are not to train: settings, or all of a batch size."""

    def __init__(self, settings=(), batch_sizes=()):
        self.settings, self.batch_sizes = set(settings), batch_sizes
        self.asked = []

    @contextlib.contextmanager
    def connected(self):
        yield self

    def chunks(self, subject, setting):
        return _Reluctant(self, Threads().chunks(subject, setting), setting.get("batch_size"))


class _Reluctant:
    def __init__(self, executor, chunks, batch_size):
        self._executor, self._chunks, self._batch_size = executor, chunks, batch_size

    def chunk_size(self, runs, hyperparameters, most=None):
        if self._batch_size in self._executor.batch_sizes:
            raise CannotTrainError("it is too late")
        return self._chunks.chunk_size(runs, hyperparameters, most)

    def train(self, works, size, interrupted):
        for work in works:
            settings = {run.setting for run in work.chunk.runs}
            self._executor.asked.append((settings, work.chunk.last_epoch))
            if settings & self._executor.settings:
                yield Failed(work.chunk, "it is too late")
            else:
                yield from self._chunks.train([work], size, interrupted)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(optimizer=Adam(0.01), loss="mse")
    return model


def sweep(model, **options):
    return lab.sweep(model, X, Y, space=SETTINGS, **{"epochs": 4, "report": False} | options)


@pytest.fixture(scope="module")
def whole(model):
    return sweep(model)


def test_what_is_not_trained_is_said_and_tried_again_when_the_sweep_goes_on(model, whole, tmp_path):
    with pytest.warns(RuntimeWarning, match=r"4 runs .*: it is too late.*rate 0.001, batch_size 16; .* and 1"):
        result = sweep(model, folder=tmp_path, executor=Reluctant(batch_sizes=[16]))
    assert result.failed.columns.tolist() == ["setting", "seed", "learning_rate", "batch_size", "reason"]
    assert result.failed.setting.tolist() == [4, 5, 6, 7]
    assert set(result.failed.reason) == {"it is too late"}
    pd.testing.assert_frame_equal(result.history, whole.history.loc[whole.history.setting < 4], check_exact=True)
    again = sweep(model, folder=tmp_path)
    assert not len(again.failed)
    pd.testing.assert_frame_equal(again.history, whole.history, check_exact=True)


def test_halving_goes_on_without_settings_of_which_a_seed_is_missing(model):
    executor = Reluctant(settings=[5])
    with pytest.warns(RuntimeWarning, match="could not be trained"):
        result = sweep(model, seeds=2, halving=2, executor=executor)
    failed = set(result.failed.setting)
    assert 5 in failed
    first = [settings for settings, epoch in executor.asked if epoch == 1]
    later = [settings for settings, epoch in executor.asked if epoch > 1]
    assert set().union(*first) == set(range(8))
    assert later
    assert failed.isdisjoint(set().union(*later))


def test_a_sweep_of_which_nothing_is_trained_fails(model):
    with (
        pytest.warns(RuntimeWarning, match="could not be trained"),
        pytest.raises(OSError, match="none of the runs could be trained: it is too late"),
    ):
        sweep(model, executor=Reluctant(batch_sizes=[8, 16]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "ray://head:10001"}, "address must be HOST:PORT of a cluster that this machine is part of"),
        ({"address": 6379}, "address must be HOST:PORT"),
        ({"cpus_per_task": 0}, "cpus_per_task must be a number > 0. Received: cpus_per_task=0"),
        ({"cpus_per_task": "2"}, "cpus_per_task must be a number > 0. Received: cpus_per_task='2'"),
        ({"gpus_per_task": 2}, "gpus_per_task must be a number >= 0 and <= 1. Received: gpus_per_task=2"),
        ({"gpus_per_task": True}, "gpus_per_task must be"),
    ],
)
def test_arguments_of_a_cluster_are_checked(arguments, message):
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=message):
        lab.Ray(**arguments)
