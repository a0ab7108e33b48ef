import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.keras import Adam
from adamkit.lab import train
from adamkit.lab.errors import InputError
from adamkit.lab.insight.charts.learning_rate_range import loss_by_learning_rate
from adamkit.lab.insight.charts.theme import save
from adamkit.lab.sweeping.learning_rate_range import learning_rate_range, smooth

pytestmark = pytest.mark.slow  # seconds, all in all

ROWS = np.random.default_rng(0).random((96, 3)).astype("float32")
TARGET = ROWS @ np.float32([1, -2, 3])


def linear(optimizer=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer or Adam(), loss="mse")
    return model


@pytest.fixture(scope="module")
def result():
    return learning_rate_range(linear(), ROWS, TARGET, high=100, steps=120)


def test_the_rate_rises_by_a_factor_and_the_suggestion_is_a_tenth_of_the_smallest_loss(result):
    history = result.history
    assert list(history.columns) == ["step", "learning_rate", "loss", "smoothed"]
    assert history.step.tolist() == list(range(1, len(history) + 1))
    rates = np.geomspace(1e-7, 100, 120)
    np.testing.assert_allclose(history.learning_rate, rates[: len(history)], rtol=1e-12)
    lowest = history.smoothed.idxmin()
    assert result.smallest == history.learning_rate[lowest]
    assert result.suggested == pytest.approx(result.smallest / 10)
    assert 1e-7 <= result.steepest <= result.smallest
    assert result.diverged
    assert len(history) < 120
    assert history.smoothed.iloc[-1] > 2 * history.smoothed.min()


def test_the_suggested_rate_trains(result):
    model = linear(Adam(result.suggested))
    history = train(model, ROWS, TARGET, epochs=100).history
    assert history.loss.iloc[-1] < 0.01 * history.loss.iloc[0]


def test_each_loss_is_what_keras_has_at_that_rate():
    """One order, whole batches, against `train_on_batch` with the optimizer's learning rate set by hand."""
    own, ours = linear(), linear()
    found = learning_rate_range(ours, ROWS, TARGET, low=1e-3, high=0.1, steps=12, batch_size=96, orders=1)
    losses = []
    for rate in np.geomspace(1e-3, 0.1, 12):
        own.optimizer.learning_rate = rate
        own.train_on_batch(ROWS, TARGET)
        losses.append(own.evaluate(ROWS, TARGET, batch_size=96, verbose=0))
    np.testing.assert_allclose(found.history.loss, losses, rtol=1e-5)


def test_the_model_is_left_as_it_is_and_the_result_depends_on_the_seed_alone():
    model = linear()
    model.optimizer.build(model.trainable_variables)
    before = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
    runs = [learning_rate_range(model, ROWS, TARGET, steps=20, seed=seed) for seed in (1, 1, 2)]
    for a, b in zip(before, (*model.variables, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(runs[0].history.loss, runs[1].history.loss)
    assert (runs[0].history.loss != runs[2].history.loss).any()


def test_nothing_is_suggested_where_the_loss_is_noise():
    noise = np.random.default_rng(1).normal(size=(96, 1)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, trainable=False), keras.layers.Rescaling(1.0)])
    model.add(keras.layers.Dense(1, kernel_initializer="zeros"))
    model.compile(optimizer=Adam(), loss="mse")
    assert learning_rate_range(model, ROWS, noise, high=1e-5, steps=50, batch_size=4).suggested is None


def test_another_optimizer():
    found = learning_rate_range(linear(keras.optimizers.SGD()), ROWS, TARGET)
    assert found.diverged
    assert 1e-4 < found.suggested < 1


def test_a_loss_that_is_infinite_ends_it():
    found = learning_rate_range(linear(keras.optimizers.SGD()), ROWS, TARGET, low=1e30, high=1e38, steps=10)
    assert found.diverged
    assert not np.isfinite(found.history.loss.iloc[-1])
    assert found.suggested is None


@given(st.floats(-5, 5), st.lists(st.floats(-1, 1), min_size=2, max_size=50))
@settings(deadline=None)
def test_smoothing_keeps_a_constant_and_stays_among_its_values(level, noise):
    rates = np.geomspace(1e-5, 1, len(noise))
    np.testing.assert_allclose(smooth(rates, np.full(len(noise), level)), level, atol=1e-12)
    smoothed = smooth(rates, np.array(noise))
    assert (smoothed >= min(noise) - 1e-12).all()
    assert (smoothed <= max(noise) + 1e-12).all()


@pytest.mark.slow
def test_the_chart_is_written(result, tmp_path):
    for path in save(loss_by_learning_rate(result.history, result.suggested, result.smallest), tmp_path, "range"):
        assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"low": 0.0}, "0 < low < high. Received: low=0.0"),
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"high": np.nan}, "high must be"),
        ({"steps": 9}, "steps must be a whole number >= 10"),
        ({"steps": 10**20}, "steps must be a whole number <= 1,000,000. Received: steps=100,000,000,000,000,000,000"),
        ({"orders": 0}, "orders must be"),
    ],
)
def test_wrong_arguments(options, said):
    with pytest.raises(ValueError, match=said):
        learning_rate_range(linear(), ROWS, TARGET, **options)


def test_a_schedule_is_refused():
    with pytest.raises(InputError, match=r"learning rate is a number\. Received: CosineDecay"):
        learning_rate_range(linear(Adam(keras.optimizers.schedules.CosineDecay(0.1, 10))), ROWS, TARGET)
