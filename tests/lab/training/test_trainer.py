"""Training as one compiled program gives what `model.fit` gives, and keeps what each epoch showed."""

import doctest
import os
import signal

import jax
import keras
import numpy as np
import pytest
from keras import layers

from adamkit.keras import Adam
from adamkit.keras.internals import build_for
from adamkit.lab.training import population, trainer
from adamkit.lab.training.population import Program, members_of, write_back
from adamkit.lab.training.trainer import train
from tests.lab.some_models import BINARY, CASES, LABELS, ROWS, TABLE, compiled

pytestmark = pytest.mark.slow  # seconds, all in all


def assert_same_run(result, history, model, rtol=1e-4):
    assert set(result.history) - {"epoch", "seconds"} == set(history.history)
    for name, values in history.history.items():
        np.testing.assert_allclose(result.history[name], values, rtol=rtol, atol=1e-6)
    for ours, theirs in zip(result.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_without_shuffling_it_is_fit(case):
    make, objective, x, y = CASES[case]
    ours, theirs = compiled(make, objective), compiled(make, objective)
    options = {"epochs": 3, "batch_size": 16, "shuffle": False, "validation_split": 0.2}
    result = train(ours, x, y, **options)
    history = theirs.fit(x, y, verbose=0, **options)
    assert_same_run(result, history, theirs)
    for own, other in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "weights",
    [{"class_weight": {0: 1.0, 1: 3.0}}, {"sample_weight": np.linspace(0, 1, ROWS, dtype="float32")}],
    ids=["class", "sample"],
)
@pytest.mark.slow
def test_weights_of_classes_and_rows_count_as_in_fit(weights):
    make, objective, x, y = CASES["subclassed"]
    ours, theirs = compiled(make, objective), compiled(make, objective)
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "validation_data": (x, y)}
    assert_same_run(train(ours, x, y, **options, **weights), theirs.fit(x, y, verbose=0, **options, **weights), theirs)


@pytest.mark.parametrize("small", [0, 2e8], ids=["optimized", "fast"])
def test_what_is_compiled_beforehand_is_all_that_a_run_needs_and_does_the_same(small, monkeypatch):
    monkeypatch.setattr(population, "_SMALL", small)
    rng = np.random.default_rng(0)
    data = rng.random((24, 4), "float32"), rng.integers(0, 2, 24).astype("float32"), None
    order, validation = np.arange(24, dtype=np.int32), jax.tree.map(lambda rows: rows[:10], data)

    def run(prepared):
        """Loss and metrics of one epoch."""
        model = keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu"), layers.Dense(1, "sigmoid")])
        model.set_weights([np.full(weights.shape, 0.1) for weights in model.get_weights()])
        model.compile(Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
        build_for(model, jax.tree.map(lambda rows: rows[:1], data))
        program, members = Program(model), members_of(model)
        if prepared:
            program.prepare(members, data, order, 10, validation)
        members, logs = program.train_epoch(members, data, order, 10)
        shown = [*jax.tree.leaves(logs), *jax.tree.leaves(program.evaluate(members, validation, 10))]
        return shown, program

    expected, late = run(prepared=False)
    assert late._compiled
    shown, program = run(prepared=True)
    assert not program._compiled  # nothing was left to compile
    assert {key[0] for key in program._ready} == {"full", "last", "test"}
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_it_agrees_with_keras_adam_over_the_whole_example():
    """Keras rounds 1 - βᵗ to float32, which moves its path by 1e-5 of a step; see tests/keras/test_exactness.py."""
    example = np.random.default_rng(0)
    x, y = example.random((1000, 20)).astype("float32"), example.integers(0, 2, 1000).astype("float32")

    def make():
        return keras.Sequential([keras.Input((20,)), layers.Dense(64, "relu"), layers.Dense(1, "sigmoid")])

    objective = {"loss": "binary_crossentropy", "metrics": ["accuracy"]}
    ours, theirs = compiled(make, objective, Adam(epsilon_hat=True)), compiled(make, objective, keras.optimizers.Adam())
    result = train(ours, x, y, epochs=50, shuffle=False)
    history = theirs.fit(x, y, epochs=50, batch_size=32, shuffle=False, verbose=0)
    np.testing.assert_allclose(result.history.loss, history.history["loss"], rtol=1e-3)
    np.testing.assert_allclose(result.history.accuracy, history.history["accuracy"], atol=0.005)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: Adam(keras.optimizers.schedules.CosineDecay(0.05, 12), clipnorm=0.1, weight_decay=0.1),
        lambda: Adam(0.01, use_ema=True, gradient_accumulation_steps=2),
        lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01), initial_scale=8.0),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01, schedule_free=True), initial_scale=8.0),
    ],
    ids=["schedule", "average", "loss scale", "sgd", "schedule-free"],
)
@pytest.mark.slow
def test_any_optimizer_trains_as_in_fit(optimizer):
    def make():
        return keras.Sequential([keras.Input((6,)), layers.BatchNormalization(), layers.Dense(1, "sigmoid")])

    x, y = TABLE[:48], LABELS[:48, None]  # whole batches: a program each
    ours, theirs = (compiled(make, BINARY, optimizer()) for _ in range(2))
    options = {"epochs": 3, "batch_size": 16, "shuffle": False, "validation_data": (x[:16], y[:16])}
    assert_same_run(train(ours, x, y, **options), theirs.fit(x, y, verbose=0, **options), theirs)


def recurrence_with_a_state():
    return keras.Sequential([keras.Input(batch_shape=(16, 3, 2)), layers.LSTM(3, stateful=True), layers.Dense(1)])


def pooled_whole_numbers():
    parts = [layers.MaxPooling2D(padding="same"), layers.AveragePooling2D(3, 1), layers.Flatten(), layers.Dense(1)]
    return keras.Sequential([keras.Input((8, 8, 1), dtype="int32"), *parts])


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (recurrence_with_a_state, TABLE[:32].reshape(32, 3, 2)),
        (pooled_whole_numbers, np.arange(32 * 64, dtype="int32").reshape(32, 8, 8, 1) % 7),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.slow
def test_a_batch_of_its_own_size_and_dtype_trains_as_in_fit(make, x):
    ours, theirs = compiled(make, {"loss": "mse"}), compiled(make, {"loss": "mse"})
    options = {"epochs": 2, "batch_size": 16, "shuffle": False}
    y = LABELS[:32, None]
    assert_same_run(train(ours, x, y, **options), theirs.fit(x, y, verbose=0, **options), theirs)


@pytest.mark.slow
def test_with_a_call_for_each_step_it_is_fit_too(monkeypatch):
    """As it is where convolutions are large."""
    monkeypatch.setattr(population, "_OPERATIONS_OF_A_STEP", 1)
    make, objective, x, y = CASES["convolution"]
    ours, theirs = compiled(make, objective), compiled(make, objective)
    options = {"epochs": 2, "batch_size": 16, "shuffle": False}
    assert_same_run(train(ours, x, y, **options), theirs.fit(x, y, verbose=0, **options), theirs)
    calls = list(Program.of(ours)._calls(np.zeros((3, 16), "int32"), 1))
    assert len(calls) == (3 if jax.default_backend() == "cpu" else 1)


def test_a_train_step_of_the_users_is_used():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(1, "sigmoid")

        def call(self, x):
            return self.out(x)

        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            return logs | {"steps": state[2][0]}, state

    result = train(compiled(Own, BINARY), TABLE, LABELS[:, None], epochs=2, batch_size=16)
    assert list(result.history.steps) == [4, 8]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_another_order():
    make, objective, x, y = CASES["dropout and batch normalization"]
    first, again, other = (train(compiled(make, objective), x, y, epochs=3, seed=seed) for seed in (1, 1, 2))
    figures = [column for column in first.history if column != "seconds"]
    assert first.history[figures].equals(again.history[figures])
    for one, two in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not first.history[figures].equals(other.history[figures])


@pytest.mark.slow
def test_training_goes_on_where_it_stopped_and_compiles_once():
    make, objective, x, y = CASES["convolution"]
    straight, twice = compiled(make, objective), compiled(make, objective)
    train(straight, x, y, epochs=4, batch_size=16, shuffle=False)
    train(twice, x, y, epochs=2, batch_size=16, shuffle=False)
    program = Program.of(twice)
    train(twice, x, y, epochs=2, batch_size=16, shuffle=False)
    assert Program.of(twice) is program
    for one, two in zip(straight.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    twice.layers[0].trainable = False
    frozen = twice.layers[0].get_weights()[0]
    twice.compile(optimizer=Adam(0.1), **objective)
    train(twice, x, y, epochs=1, batch_size=16)
    assert Program.of(twice) is not program
    np.testing.assert_array_equal(twice.layers[0].get_weights()[0], frozen)


def test_a_further_run_prepares_nothing_anew(monkeypatch):
    """What operations a program has takes XLA as long to say as some epochs take."""
    counted = []
    count = population._operations
    monkeypatch.setattr(population, "_operations", lambda lowered: counted.append(1) or count(lowered))
    model = compiled(lambda: keras.Sequential([keras.Input((6,)), layers.Dense(1)]), {"loss": "mse"})
    for _ in range(2):
        train(model, TABLE[:48], LABELS[:48, None], epochs=1, batch_size=16)
    assert len(counted) == 1


@pytest.mark.slow
def test_members_of_a_population_train_as_if_alone():
    make, objective, x, y = CASES["dropout and batch normalization"]
    settings = [(0.01, 0.9, 0.999), (0.001, 0.5, 0.9), (0.1, 0.0, 0.99), (1e30, 0.9, 0.999)]
    model = compiled(make, objective)
    model._symbolic_build(data_batch=(x[:1], y[:1], None))
    program, members = Program.of(model), members_of(model, len(settings))
    rates, first, second = np.float32(settings).T
    members.optimizer[1] = jax.numpy.asarray(rates)
    for name, beta in (("beta_1", first), ("beta_2", second)):
        beta = beta.astype(np.float64).round(6)  # 0.9, not the float32 next to it
        with np.errstate(divide="ignore"):
            decay = type(members.hyperparameters[name])(*map(np.float32, (beta, 1 - beta, np.log(beta))))
        members.hyperparameters[name] = decay
    order = np.arange(48, dtype=np.int32)
    for _ in range(2):
        members, logs = program.train_epoch(members, (x, y, None), order, 16)
    assert not np.isfinite(logs["loss"][3])
    for index, (rate, beta_1, beta_2) in enumerate(settings[:3]):
        alone = compiled(make, objective, Adam(rate, beta_1, beta_2, epsilon_hat=True))
        history = train(alone, x[:48], y[:48], epochs=2, batch_size=16, shuffle=False).history
        np.testing.assert_allclose(logs["loss"][index], history.loss.iloc[-1], rtol=1e-4)
        write_back(members, index, model)
        for one, two in zip(model.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_ctrl_c_ends_after_the_epoch_and_keeps_what_there_is():
    def press(row):
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    make, objective, x, y = CASES["convolution"]
    model, straight = compiled(make, objective), compiled(make, objective)
    result = train(model, x, y, epochs=1000, batch_size=16, shuffle=False, on_epoch=press)
    assert result.interrupted
    assert 3 <= len(result.history) <= 5
    assert signal.getsignal(signal.SIGINT) is before
    train(straight, x, y, epochs=len(result.history), batch_size=16, shuffle=False)
    for one, two in zip(model.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_error_in_the_callers_function_leaves_the_model_usable():
    def fail(row):
        raise RuntimeError("no more")

    make, objective, x, y = CASES["convolution"]
    model = compiled(make, objective)
    with pytest.raises(RuntimeError, match="no more"):
        train(model, x, y, epochs=5, on_epoch=fail)
    assert np.isfinite(model.predict(x, verbose=0)).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be a whole number >= 1. Received: epochs=0"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number >= 1"),
        ({"batch_size": -1}, ValueError, "batch_size must be a whole number >= 1"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be >= 0 and < 1"),
        ({"validation_split": 1e-20}, ValueError, "leaves 50 of 50 rows to train on and 0 to validate on"),
        ({"x": TABLE[:-1]}, ValueError, "training data must have the same number of rows"),
        ({"x": TABLE[:0], "y": LABELS[:0]}, ValueError, "at least 1"),
        ({"x": np.array(["a"] * ROWS, dtype=object)}, ValueError, "x must be an array of numbers .* dtype object"),
        ({"validation_data": (TABLE,)}, ValueError, r"validation_data must be \(x, y\)"),
        ({"class_weight": {0: 1.0}, "sample_weight": LABELS}, ValueError, "cannot both be given"),
        ({"model": keras.Sequential([keras.Input((6,))])}, ValueError, "model must be compiled"),
        ({"model": "mlp"}, TypeError, "model must be a compiled keras.Model"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, error, message):
    model = compiled(lambda: keras.Sequential([keras.Input((6,)), layers.Dense(1, "sigmoid")]), BINARY)
    arguments = {"model": model, "x": TABLE, "y": LABELS[:, None], "epochs": 1} | change
    with pytest.raises(error, match=message):
        train(**arguments)


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(trainer).failed == 0
