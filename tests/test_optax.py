"""`adamkit.optax.adam` against the oracle, against optax, and inside optax's combinators."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit import moments
from adamkit.optax import Blocks, adam
from tests import reference

pytestmark = pytest.mark.optimized


def run(optimizer, x, gradients):
    state = optimizer.init(x)

    @jax.jit
    def step(x, state, gradient):
        updates, state = optimizer.update(gradient, state, x)
        return optax.apply_updates(x, updates), state

    for gradient in gradients:
        x, state = step(x, state, gradient)
    return x, state


def draw(seed, steps, shape=(5,)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=(steps, *shape)).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    b1=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    b2=st.sampled_from([0.0, 0.4, 0.95, 0.999, 0.9999]),
    eps=st.sampled_from([1e-12, 1e-8, 1e-3]),
)
def test_follows_the_oracle(seed, b1, b2, eps):
    x, gradients = draw(seed, 8)
    ours, state = run(adam(0.01, b1, b2, eps), x, gradients)
    exact = reference.run(x, gradients, learning_rate=0.01, beta_1=b1, beta_2=b2, epsilon=eps)[-1]
    np.testing.assert_allclose(ours, exact.theta, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.mu, exact.m, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(state.nu, exact.v, rtol=1e-5, atol=1e-7)


def test_agrees_with_optax():
    x, gradients = draw(1, 50, (4, 3))
    np.testing.assert_allclose(run(adam(0.01), x, gradients)[0], run(optax.adam(0.01), x, gradients)[0], atol=2e-6)


def test_moves_a_bfloat16_parameter_as_the_oracle_does():
    x, gradients = draw(2, 10)
    ours, state = run(adam(0.1), jnp.asarray(x, jnp.bfloat16), jnp.asarray(gradients, jnp.bfloat16))
    exact = reference.run(jnp.asarray(x, jnp.bfloat16), jnp.asarray(gradients, jnp.bfloat16), learning_rate=0.1)[-1]
    assert ours.dtype == jnp.bfloat16
    assert state.nu.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(ours, np.float32), exact.theta, atol=0.03)


def test_schedule_counts_the_steps_done():
    x, gradients = draw(3, 6)
    schedule = optax.piecewise_constant_schedule(0.1, {3: 0.0})  # no change from the fourth step on
    ours = run(adam(schedule), x, gradients)[0]
    np.testing.assert_array_equal(ours, run(adam(schedule), x, gradients[:4])[0])
    np.testing.assert_allclose(ours, run(optax.adam(schedule), x, gradients)[0], rtol=2e-5)


def test_works_in_a_chain_with_clipping_and_weight_decay():
    x, gradients = draw(4, 10)

    def chain(base):
        return optax.chain(optax.clip_by_global_norm(0.5), base, optax.add_decayed_weights(-1e-3))

    np.testing.assert_allclose(
        run(chain(adam(0.01)), x, gradients)[0], run(chain(optax.adam(0.01)), x, gradients)[0], rtol=2e-5
    )


def test_works_in_inject_hyperparams():
    x, gradients = draw(5, 10)
    injected = optax.inject_hyperparams(adam)(learning_rate=0.01, b1=0.8, b2=0.99, eps=1e-6)
    ours, state = run(injected, x, gradients)
    np.testing.assert_allclose(ours, run(adam(0.01, 0.8, 0.99, 1e-6), x, gradients)[0], rtol=1e-5)
    assert state.hyperparams["b2"] == np.float32(0.99)


def test_works_in_multi_transform():
    x, gradients = draw(6, 5)
    params = {"a": x, "b": x}
    optimizer = optax.multi_transform({"fast": adam(0.1), "slow": adam(0.001)}, {"a": "fast", "b": "slow"})
    ours, _ = run(optimizer, params, [{"a": g, "b": g} for g in gradients])
    np.testing.assert_allclose(ours["a"], run(adam(0.1), x, gradients)[0], rtol=1e-6)
    np.testing.assert_allclose(ours["b"], run(adam(0.001), x, gradients)[0], rtol=1e-6)


def test_step_is_a_pure_function_that_maps_over_learning_rates():
    x, gradients = draw(7, 1)
    rates = jnp.array([0.1, 0.01])

    def step(rate):
        optimizer = adam(rate)
        return optimizer.update(gradients[0], optimizer.init(x))[0]

    np.testing.assert_allclose(jax.vmap(step)(rates)[1], step(0.01), rtol=1e-6)


def test_a_compiled_step_can_write_into_the_state():
    x, gradients = draw(8, 1)
    optimizer = adam(0.1)
    step = jax.jit(lambda state, gradient: optimizer.update(gradient, state)[1], donate_argnums=0)
    assert step(optimizer.init(x), gradients[0]).count == 1


NARROW = ["bfloat16", "int8"]
LARGE = (moments.MIN_SIZE // 32, 33)  # of no whole number of blocks


def float32(moment, decode):
    """What `mu` or `nu` stands for."""
    return decode(*moment, np) if isinstance(moment, Blocks) else np.asarray(moment, np.float32)


@pytest.mark.parametrize("moment_dtype", NARROW)
def test_narrow_moments_follow_float32_ones(moment_dtype):
    """To the nearest, v would stay where it was after the first steps, since it changes by 1 % a step."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=LARGE).astype(np.float32)
    gradients = rng.normal(size=(300, *LARGE)).astype(np.float32) * np.geomspace(3, 0.01, 300)[:, None, None]
    (_, full), (_, narrow) = (run(adam(0.01, b2=0.99, moment_dtype=d), x, gradients) for d in ("float32", moment_dtype))
    v = float32(narrow.nu, moments.decode_second)
    relative = v / full.nu - 1
    assert abs(relative.mean()) < 0.03  # no bias
    assert relative.std() < (0.03 if moment_dtype == "bfloat16" else 0.4)
    m = float32(narrow.mu, moments.decode_first)
    assert np.abs(m - full.mu).mean() < 0.1 * np.abs(full.mu).mean()


@pytest.mark.parametrize("moment_dtype", NARROW)
def test_narrow_moments_come_as_near_to_a_minimum(moment_dtype):
    target = jnp.asarray(np.random.default_rng(10).normal(size=LARGE), jnp.float32)

    def distance(moment_dtype):
        optimizer = adam(optax.cosine_decay_schedule(0.05, 300), moment_dtype=moment_dtype)

        @jax.jit
        def train(x):
            def step(carry, _):
                x, state = carry
                updates, state = optimizer.update(2 * (x - target), state)
                return (optax.apply_updates(x, updates), state), None

            return jax.lax.scan(step, (x, optimizer.init(x)), length=300)[0][0]

        return float(jnp.abs(train(jnp.zeros(LARGE)) - target).mean())

    assert distance(moment_dtype) < 1.3 * distance("float32") < 1e-4


def test_int8_keeps_codes_and_scales_of_large_arrays_in_2_bytes_a_parameter():
    params = {"kernel": jnp.ones((1024, 1024), jnp.bfloat16), "bias": jnp.ones(64)}
    state = adam(0.1, moment_dtype="int8").init(params)
    assert state.mu["bias"].dtype == jnp.float32
    assert isinstance(state.nu["kernel"], Blocks)
    held = sum(x.nbytes for x in jax.tree.leaves((state.mu["kernel"], state.nu["kernel"])))
    assert held <= 2.1 * params["kernel"].size


@pytest.mark.parametrize("moment_dtype", NARROW)
def test_narrow_moments_work_injected_mapped_compiled_and_given_away(moment_dtype):
    rng = np.random.default_rng(11)
    x, gradient = rng.normal(size=(2, *LARGE)).astype(np.float32)
    expected, state = adam(0.01, 0.8, moment_dtype=moment_dtype).update(
        gradient, adam(0.01, moment_dtype=moment_dtype).init(x)
    )
    injected = optax.inject_hyperparams(adam)(learning_rate=0.01, b1=0.8, moment_dtype=moment_dtype)
    step = jax.jit(injected.update, donate_argnums=1)
    updates, _ = step(gradient, injected.init(x))
    np.testing.assert_allclose(updates, expected, rtol=1e-5)

    def member(rate):
        optimizer = adam(rate, 0.8, moment_dtype=moment_dtype)
        return optimizer.update(gradient, optimizer.init(x))

    updates, states = jax.vmap(member)(jnp.array([0.1, 0.01]))
    np.testing.assert_allclose(updates[1], expected, rtol=1e-5)
    assert jax.tree.structure(states) == jax.tree.structure(state)


def test_int8_is_not_for_float64():
    with jax.enable_x64(True), pytest.raises(ValueError, match="moment_dtype='int8' is for parameters of float32"):
        adam(0.1, moment_dtype="int8").init(jnp.ones(3, jnp.float64))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"learning_rate": -1.0}, ValueError, "learning_rate"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate"),
        ({"learning_rate": 0.1, "b1": 1.0}, ValueError, "b1"),
        ({"learning_rate": 0.1, "b2": -0.1}, ValueError, "b2"),
        ({"learning_rate": 0.1, "eps": float("nan")}, ValueError, "eps"),
        ({"learning_rate": 0.1, "moment_dtype": "float7"}, ValueError, "moment_dtype"),
    ],
)
def test_refuses_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        adam(**arguments)


def test_refuses_integer_parameters():
    with pytest.raises(TypeError, match="int32"):
        adam(0.1).init(jnp.arange(3))


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    optimizer = adam(0.1, on_nonfinite="skip", moment_dtype="bfloat16")
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    update = jax.jit(optimizer.update)
    good = {"a": jnp.ones(3), "b": jnp.ones(2)}
    _, state = update(good, optimizer.init(params))
    changes, after = update({"a": jnp.ones(3), "b": jnp.array([1.0, jnp.inf])}, state)
    assert all((change == 0).all() for change in changes.values())
    assert jax.tree.all(jax.tree.map(lambda now, then: (now == then).all(), after.state, state.state))
    assert (int(after.skipped_steps), int(after.state.count)) == (1, 1)
    with pytest.raises(ValueError, match="on_nonfinite must be 'propagate' or 'skip' in optax"):
        adam(0.1, on_nonfinite="raise")
