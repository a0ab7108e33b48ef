"""Every argument of `keras.optimizers.Adam` means here what it means there."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow  # seconds, all in all

BACKEND = keras.backend.backend()
LEARNING_RATE = 0.01
OPTIONS = [
    {},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    {"beta_1": 0.0, "beta_2": 0.5},
    {"amsgrad": True},
    {"weight_decay": 0.1},
    {"clipnorm": 0.5},
    {"clipvalue": 0.1},
    {"global_clipnorm": 0.5},
    {"use_ema": True, "ema_momentum": 0.9},
    {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "amsgrad": True, "weight_decay": 0.1, "use_ema": True},
    {"loss_scale_factor": 8.0},
]


def pair(**options):
    """Keras's Adam, and ours with ε where Keras has it."""
    options = {"learning_rate": LEARNING_RATE} | options
    return keras.optimizers.Adam(**options), Adam(epsilon_hat=True, **options)


def trained(optimizer, steps=6, seed=0, variables=None):
    """Two variables after some steps, and the optimizer's averages applied."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape).astype("float32") for shape in ((3, 2), (4,))]
    variables = variables or [keras.Variable(values) for values in start]
    for _ in range(steps):
        gradients = [ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables]
        optimizer.apply(gradients, variables)
    return variables


def assert_same(variables, others, rtol=1e-4):
    for variable, other in zip(variables, others, strict=True):
        np.testing.assert_allclose(as_numpy(variable), as_numpy(other), rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.slow
def test_the_path_is_that_of_keras(options):
    theirs, ours = pair(**options)
    after, after_ours = trained(theirs), trained(ours)
    assert_same(after, after_ours)
    theirs.finalize_variable_values(after)
    ours.finalize_variable_values(after_ours)
    assert_same(after, after_ours)
    assert int(as_numpy(ours.iterations)) == int(as_numpy(theirs.iterations))


def test_learning_rate_may_be_a_schedule_a_callable_or_set_later():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=3, decay_rate=0.5)
    for learning_rate in (schedule, lambda: 0.05):
        theirs, ours = pair(learning_rate=learning_rate)
        assert_same(trained(theirs), trained(ours))
    ours = Adam(0.5)
    ours.learning_rate = LEARNING_RATE
    assert_same(trained(ours), trained(Adam(LEARNING_RATE)))


@pytest.mark.parametrize("how", [{"var_list": 1}, {"var_names": ["bias"]}], ids=["list", "names"])
def test_variables_are_excluded_from_weight_decay(how):
    weight, bias = keras.Variable(np.ones(2), name="weight"), keras.Variable(np.ones(2), name="bias")
    optimizer = Adam(LEARNING_RATE, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(**{"var_list": [bias]} if "var_list" in how else how)
    optimizer.apply([ops.zeros(2), ops.zeros(2)], [weight, bias])
    np.testing.assert_allclose(as_numpy(weight), 1 - LEARNING_RATE * 0.5)
    np.testing.assert_array_equal(as_numpy(bias), 1)


def model(dtype=None, optimizer=None):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((6,)), keras.layers.Dense(8, "relu", dtype=dtype), keras.layers.Dense(1, dtype=dtype)]
    made = keras.Sequential(layers)
    made.compile(optimizer=optimizer, loss="mse")
    return made


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16", "bfloat16", "float16"])
@pytest.mark.slow
def test_fit_learns_under_every_dtype_policy(dtype):
    learner = model(dtype, Adam(0.02))
    history = learner.fit(*data(), epochs=25, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


def test_fit_agrees_with_keras():
    theirs, ours = (model(optimizer=optimizer) for optimizer in pair())
    for learner in (theirs, ours):
        learner.fit(*data(), epochs=5, batch_size=16, shuffle=False, verbose=0)
    assert_same(theirs.trainable_variables, ours.trainable_variables, rtol=1e-3)


def test_a_loss_scaler_skips_steps_that_overflow_and_halves_its_scale():
    optimizer = keras.optimizers.LossScaleOptimizer(Adam(LEARNING_RATE), initial_scale=4.0)
    variable = keras.Variable(np.ones(2))
    optimizer.build([variable])
    _apply(optimizer, ops.convert_to_tensor(np.float32([np.inf, 4.0])), variable)
    np.testing.assert_array_equal(as_numpy(variable), 1)
    assert float(as_numpy(optimizer.dynamic_scale)) == 2.0
    _apply(optimizer, ops.convert_to_tensor(np.float32([4.0, 4.0])), variable)
    np.testing.assert_allclose(as_numpy(variable), 1 - LEARNING_RATE, rtol=1e-5)


def _apply(optimizer, gradient, variable):
    if BACKEND != "jax":
        optimizer.apply([gradient], [variable])
        return
    # On JAX, Keras's loss scaler has the stateless form only.
    (value,), state = optimizer.stateless_apply([v.value for v in optimizer.variables], [gradient], [variable.value])
    variable.assign(value)
    for own, new in zip(optimizer.variables, state, strict=True):
        own.assign(new)


def test_apply_without_variables_and_unknown_variables():
    variable = keras.Variable(np.ones(2))
    optimizer = Adam(LEARNING_RATE)
    optimizer.build([variable])
    optimizer.apply([ops.ones(2)])
    np.testing.assert_allclose(as_numpy(variable), 1 - LEARNING_RATE, rtol=1e-6)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([ops.ones(2)], [keras.Variable(np.ones(2))])


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras has no stateless_apply on TensorFlow")
def test_stateless_apply_gives_what_apply_gives_and_leaves_the_variables():
    variables = [keras.Variable(np.ones(3))]
    optimizer = Adam(LEARNING_RATE, weight_decay=0.1)
    optimizer.build(variables)
    gradient = ops.convert_to_tensor(np.float32([1, -2, 3]))
    new, state = optimizer.stateless_apply([v.value for v in optimizer.variables], [gradient], [variables[0].value])
    np.testing.assert_array_equal(as_numpy(variables[0]), 1)
    optimizer.apply([gradient], variables)
    np.testing.assert_allclose(as_numpy(variables[0]), as_numpy(new[0]), rtol=1e-7)
    assert len(state) == len(optimizer.variables)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has sparse gradients here")
@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")
@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.5}, {"amsgrad": True, "weight_decay": 0.1}], ids=str)
def test_a_sparse_gradient_gives_what_the_dense_one_gives(options):
    import tensorflow as tf

    slices = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [0, 2, 0], dense_shape=(4, 2))
    after = []
    for gradient in (slices, tf.convert_to_tensor(slices)):
        variable = keras.Variable(np.ones((4, 2)))
        optimizer = Adam(LEARNING_RATE, **options)
        for _ in range(3):
            optimizer.apply([gradient], [variable])
        after.append(as_numpy(variable))
    np.testing.assert_allclose(*after, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"learning_rate": -1.0},
            ValueError,
            "learning_rate must be a finite number >= 0. Received: learning_rate=-1.0",
        ),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a finite number >= 0"),
        ({"beta_1": 1.0}, ValueError, "beta_1 must be a finite number >= 0 and < 1"),
        ({"beta_2": 1.5}, ValueError, "beta_2 must be a finite number >= 0 and < 1"),
        ({"epsilon": -1e-7}, ValueError, "epsilon must be a finite number >= 0"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be a finite number >= 0"),
        ({"amsgrad": "no"}, TypeError, "amsgrad must be True or False"),
        ({"epsilon_hat": 1}, TypeError, "epsilon_hat must be True or False"),
        ({"moment_dtype": "int3"}, ValueError, "moment_dtype must be one of 'float32', 'bfloat16'"),
        ({"momentum": 0.9}, ValueError, "not recognized"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, ValueError, "Only one of"),
    ],
    ids=str,
)
def test_bad_arguments_are_named_with_what_is_accepted(arguments, error, message):
    with pytest.raises(error, match=message):
        Adam(**arguments)


@pytest.mark.parametrize("learning_rate", [1, np.float32(0.5), keras.ops.convert_to_tensor(0.5)], ids=repr)
def test_any_real_number_is_a_learning_rate(learning_rate):
    assert float(as_numpy(Adam(learning_rate).learning_rate)) == float(learning_rate)


def test_config_makes_the_same_optimizer_and_is_registered():
    optimizer = Adam(0.5, 0.5, 0.9, 1e-3, True, 0.1, use_ema=True, epsilon_hat=True, moment_dtype="bfloat16")
    again = Adam.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    from_file = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(from_file) is Adam
    assert isinstance(from_file, keras.optimizers.Adam)
    assert from_file.get_config() == optimizer.get_config()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert Adam.from_config(Adam(schedule).get_config()).get_config()["learning_rate"]["class_name"] == "CosineDecay"


@pytest.mark.parametrize(
    "options", [{}, {"amsgrad": True, "use_ema": True}, {"moment_dtype": "bfloat16"}, {"weight_decay": 0.1}], ids=str
)
@pytest.mark.slow
def test_a_model_saved_in_the_middle_of_training_goes_on_to_the_same_weights(tmp_path, options):
    straight, saved = (model(optimizer=Adam(LEARNING_RATE, **options)) for _ in range(2))
    fit = {"batch_size": 16, "shuffle": False, "verbose": 0}
    straight.fit(*data(), epochs=2, **fit)
    saved.fit(*data(), epochs=2, **fit)
    saved.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    straight.fit(*data(), epochs=2, **fit)
    loaded.fit(*data(), epochs=2, **fit)
    for expected, weights in zip(straight.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.slow
def test_a_run_changes_over_from_keras_and_back_without_a_jump(options):
    straight = keras.optimizers.Adam(LEARNING_RATE, **options)
    expected = trained(straight)
    expected = trained(straight, seed=1, variables=expected)
    expected = trained(straight, seed=2, variables=expected)
    first = keras.optimizers.Adam(LEARNING_RATE, **options)
    variables = trained(first)
    second = Adam.from_keras(first)
    assert second.epsilon_hat
    trained(second, seed=1, variables=variables)
    third = second.to_keras()
    assert type(third).__module__.startswith("keras.")
    trained(third, seed=2, variables=variables)
    assert_same(variables, expected)
    assert int(as_numpy(third._iterations)) == 18


def test_changing_over_keeps_schedules_exclusions_and_adamw():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    theirs = keras.optimizers.AdamW(schedule, weight_decay=0.3)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    ours = Adam.from_keras(theirs)
    assert ours._learning_rate is schedule
    assert ours.weight_decay == 0.3
    bias = keras.Variable(np.ones(2), name="bias")
    ours.apply([ops.zeros(2)], [bias])
    np.testing.assert_array_equal(as_numpy(bias), 1)


def test_only_an_adam_of_keras_can_be_changed_over():
    for wrong in (keras.optimizers.SGD(), Adam(), keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "adam"):
        with pytest.raises(TypeError, match=r"optimizer must be a keras.optimizers.Adam, AdamW or Nadam. Received: "):
            Adam.from_keras(wrong)


def test_a_file_with_keras_adam_loads_into_a_model_with_ours(tmp_path):
    theirs, ours = (model(optimizer=optimizer) for optimizer in pair())
    theirs.fit(*data(), epochs=2, shuffle=False, verbose=0)
    theirs.save_weights(tmp_path / "weights.weights.h5")
    ours.optimizer.build(ours.trainable_variables)
    ours.load_weights(tmp_path / "weights.weights.h5")
    for learner in (theirs, ours):
        learner.fit(*data(), epochs=2, shuffle=False, verbose=0)
    assert_same(theirs.trainable_variables, ours.trainable_variables, rtol=1e-3)
