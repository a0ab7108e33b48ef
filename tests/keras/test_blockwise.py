"""Adam-mini in Keras: the oracle's path, in `fit` and in the lab, what it keeps, and files from Adam and back."""

import keras
import numpy as np
import pytest
from keras import ops

import adamkit
from adamkit.keras import Adam, Watch
from tests import reference
from tests.keras.test_exactness import as_numpy

SHAPES = [(64, 80), (80,), (2, 2, 3, 5)]


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def run(steps=4, dtype="float32", **options):
    variables = [keras.Variable(np.full(shape, 0.5), dtype=dtype) for shape in SHAPES]
    optimizer = Adam(0.01, **options)
    optimizer.build(variables)
    go_on(optimizer, variables, steps)
    return optimizer, variables


def go_on(optimizer, variables, steps=4):
    dtype = variables[0].dtype
    for step in range(steps):
        optimizer.apply([ops.cast(ops.convert_to_tensor(g), dtype) for g in gradients(step)], variables)


def file_of(optimizer):
    return {str(place): as_numpy(v) if v.dtype != "uint8" else np.asarray(ops.convert_to_numpy(v))
            for place, v in enumerate(optimizer.variables)}  # fmt: skip


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"amsgrad": True}, {"adopt": True}], ids="-".join)
def test_steps_follow_the_oracle(options):
    optimizer, variables = run(blockwise=True, **options)
    for place, variable in enumerate(variables):
        path = [gradients(step)[place] for step in range(4)]
        named = {"learning_rate": 0.01, "epsilon": 1e-7, "blockwise": True, **options}
        expected = reference.run(np.full(SHAPES[place], 0.5), path, **named)[-1]
        np.testing.assert_allclose(as_numpy(variable), expected.theta, rtol=1e-5, atol=1e-6)
        v = np.broadcast_to(as_numpy(optimizer._velocities[place]), SHAPES[place])
        np.testing.assert_allclose(v, expected.v, rtol=1e-5)
    assert [tuple(v.shape) for v in optimizer._velocities] == [(1, 80), (1,), (1, 1, 1, 5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment_dtype", "of_m", "of_v"), [("float32", 4, 4), ("bfloat16", 2, 2), ("int8", 65 / 64, 4)]
)
def test_what_it_keeps_in_each_format(moment_dtype, of_m, of_v):
    optimizer, variables = run(blockwise=True, moment_dtype=moment_dtype, dtype="bfloat16")
    expected, exact = run(blockwise=True)
    np.testing.assert_allclose(as_numpy(variables[0]), as_numpy(exact[0]), rtol=0.03)
    small = 80 + 60
    rest = small * (4 if moment_dtype == "int8" else of_m)
    remainders = 2 * (64 * 80 + small)
    assert optimizer.describe().bytes == 64 * 80 * of_m + (80 + 1 + 5) * of_v + rest + remainders
    assert "blockwise True" in str(expected.describe())


@pytest.mark.slow
def test_a_file_of_adam_goes_on_with_the_means_and_back_each_element_has_that_of_its_block():
    adam, _ = run(moment_dtype="int8")
    expected, _ = run(blockwise=True)
    found, variables = run(0, blockwise=True)
    found.load_own_variables(file_of(adam))
    for ours, theirs in zip(found._velocities, expected._velocities, strict=True):
        np.testing.assert_allclose(as_numpy(ours), as_numpy(theirs), rtol=0.05)  # int8's rounding
    go_on(found, variables)
    plain, _ = run(0)
    with pytest.warns(UserWarning, match="the saved state is blockwise"):
        plain.load_own_variables(file_of(expected))
    for ours, theirs in zip(plain._velocities, expected._velocities, strict=True):
        np.testing.assert_array_equal(as_numpy(ours), np.broadcast_to(as_numpy(theirs), ours.shape))
    again, _ = run(0, blockwise=True, moment_dtype="int8")
    again.load_own_variables(file_of(expected))
    np.testing.assert_array_equal(as_numpy(again._velocities[0]), as_numpy(expected._velocities[0]))
    wrong = file_of(adam)
    place = [v.path for v in adam.variables].index(adam._velocities[0].path)
    wrong[str(place)] = wrong[str(place)][:5]
    with pytest.raises(ValueError, match=r"must have shape \(1, 80\)"):
        found.load_own_variables(wrong)


@pytest.mark.slow
def test_it_trains_in_fit_and_goes_on_from_a_saved_model(tmp_path):
    """Where the step is compiled, and under a callback that looks at v."""
    x = np.random.default_rng(2).normal(size=(64, 3)).astype("float32")
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile(Adam(0.02, blockwise=True), loss="mse")
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    losses = model.fit(x, x[:, :1], epochs=10, callbacks=[Watch(every=9, warn=False)], **options).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.blockwise
    for one in (model, again):
        one.fit(x, x[:, :1], epochs=1, **options)
    np.testing.assert_allclose(*(as_numpy(one.trainable_variables[0]) for one in (model, again)), rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="optax is JAX's")
def test_it_goes_to_optax_and_back_to_the_bit():
    import jax.numpy as jnp

    from adamkit.optax import adam

    optimizer, _ = run(blockwise=True)
    like = adam(0.01, blockwise=True).init([jnp.zeros(shape) for shape in SHAPES])
    state = adamkit.convert(optimizer, to="optax", like=like)
    again, _ = run(0, blockwise=True)
    again.load_own_variables(adamkit.convert(state, to="keras", like=again))
    for place, (one, other) in enumerate(zip(optimizer._velocities, again._velocities, strict=True)):
        np.testing.assert_array_equal(as_numpy(one), state[0].nu[place])
        np.testing.assert_array_equal(as_numpy(one), as_numpy(other))


def test_what_it_does_not_go_with():
    with pytest.raises(ValueError, match="rectified=True does not go with blockwise=True"):
        Adam(blockwise=True, rectified=True)
    with pytest.raises(ValueError, match="blockwise=True needs adaptivity=True"):
        Adam(blockwise=True, adaptivity=False)
    with pytest.raises(ValueError, match=r"only Adam itself can become .* blockwise"):
        Adam(blockwise=True).to_keras()
