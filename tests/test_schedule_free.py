"""Schedule-free steps in every drop-in, against the authors' optimizer and optax's, and what becomes of the average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import schedulefree
import torch

import adamkit
import adamkit.optax
from adamkit.torch import Adam

pytestmark = pytest.mark.slow  # seconds, all in all

STEPS = 1000
TOLERANCE = {"rtol": 1e-4, "atol": 5e-6}  # float32's rounding, over 1,000 steps of about 0.01


def gradients_of(start):
    """Of a quadratic with noise: they depend on where they are taken."""
    noise = np.random.default_rng(1).normal(size=(STEPS, *start.shape)).astype("float32")
    return lambda step, theta: noise[step] + theta


@pytest.fixture(scope="module")
def theirs():
    """y and x of the authors' optimizer, with warm-up and weight decay."""
    start = np.random.default_rng(0).normal(size=12).astype("float32")
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = schedulefree.AdamWScheduleFree([parameter], lr=0.01, weight_decay=0.1, warmup_steps=50)
    gradient = gradients_of(start)
    optimizer.train()
    for step in range(STEPS):
        parameter.grad = torch.tensor(gradient(step, parameter.detach().numpy()))
        optimizer.step()
    y = parameter.detach().numpy().copy()
    optimizer.eval()
    return start, gradient, y, parameter.detach().numpy().copy()


def rate(step):
    """0.01 after a warm-up of 50 steps."""
    return 0.01 * min(1.0, (step + 1) / 50)


def test_a_thousand_steps_are_the_authors(theirs):
    start, gradient, y, x = theirs
    theta, state = start, adamkit.init(start)
    for step in range(STEPS):
        theta, state = adamkit.step(
            theta, gradient(step, theta), state, learning_rate=rate(step), weight_decay=0.1, schedule_free=True
        )
    np.testing.assert_allclose(theta, y, **TOLERANCE)
    np.testing.assert_allclose(theta + state.first_moment, x, **TOLERANCE)


def test_a_thousand_steps_of_pytorch_are_the_authors(theirs):
    start, gradient, y, x = theirs
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = Adam([parameter], weight_decay=0.1, decoupled_weight_decay=True, schedule_free=True)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(step)
        parameter.grad = torch.tensor(gradient(step, parameter.detach().numpy()))
        optimizer.step()
    np.testing.assert_allclose(parameter.detach(), y, **TOLERANCE)
    optimizer.eval()
    np.testing.assert_allclose(parameter.detach(), x, **TOLERANCE)


def test_a_thousand_steps_are_optaxs():
    start = np.random.default_rng(0).normal(size=12).astype("float32")
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(STEPS, 12)), jnp.float32)
    results = []
    for optimizer, averages in (
        (optax.contrib.schedule_free_adamw(0.01, weight_decay=0.1), optax.contrib.schedule_free_eval_params),
        (adamkit.optax.adamw(0.01, weight_decay=0.1, schedule_free=True), adamkit.optax.schedule_free_eval_params),
    ):

        def step(carry, noise, optimizer=optimizer):
            params, state = carry
            updates, state = optimizer.update(noise + params, state, params)
            return (optax.apply_updates(params, updates), state), None

        begun = (jnp.asarray(start), optimizer.init(jnp.asarray(start)))
        (params, state), _ = jax.jit(lambda begun, step=step: jax.lax.scan(step, begun, noise))(begun)
        results.append((params, averages(state, params)))
    np.testing.assert_allclose(*results, **TOLERANCE)


def test_optax_keeps_what_it_needs_in_every_format():
    params = {"w": jnp.linspace(-1, 1, 8192, dtype=jnp.bfloat16).reshape(64, 128), "b": jnp.ones(3)}
    optimizer = adamkit.optax.adam(
        0.01, schedule_free=True, moment_dtype="int8", parameter_rounding="compensated", on_nonfinite="skip"
    )
    state = optimizer.init(params)
    for _ in range(5):
        updates, state = optimizer.update(jax.tree.map(jnp.sign, params), state, params)
        params = adamkit.optax.apply_updates(params, updates, state)
    averages = adamkit.optax.schedule_free_eval_params(state, params)
    assert averages["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(averages["b"] - params["b"], 0.002, rtol=1e-2)
    with pytest.raises(ValueError, match="state must hold one state of adam"):
        adamkit.optax.schedule_free_eval_params(optax.adam(0.1).init(params), params)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("moment_dtype", ["float32", "int8"])
def test_pytorch_evaluates_the_average_and_goes_on_from_where_it_was(dtype, moment_dtype):
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 5000).to(getattr(torch, dtype)))
    optimizer = Adam([parameter], lr=0.01, schedule_free=True, moment_dtype=moment_dtype)
    for _ in range(5):
        parameter.grad = parameter.detach().sign()
        optimizer.step()
    y = parameter.detach().clone()
    optimizer.train()  # it is that already
    assert torch.equal(parameter, y)
    optimizer.eval()
    x = parameter.detach().clone()
    assert (x.float() - y.float()).abs().max() > 0.001  # x is behind
    with pytest.raises(RuntimeError, match=r"call train\(\)"):
        optimizer.step()
    optimizer.eval()
    assert torch.equal(parameter, x)
    restored = torch.nn.Parameter(x.clone())
    again = Adam([restored], lr=0.01, moment_dtype=moment_dtype)
    again.load_state_dict(optimizer.state_dict())
    for one in (optimizer, again):
        one.train()
    torch.testing.assert_close(parameter.detach(), y, rtol=1e-6, atol=1e-7)
    assert torch.equal(restored, parameter)
    for one, each in ((parameter, optimizer), (restored, again)):
        one.grad = one.detach().sign()
        each.step()
    assert torch.equal(restored, parameter)


def test_pytorchs_checkpoint_starts_an_average():
    parameter = torch.nn.Parameter(torch.ones(3))
    plain = torch.optim.Adam([parameter], lr=0.1)
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    plain.step()
    optimizer = Adam([parameter], lr=0.1, schedule_free=True)
    with pytest.warns(UserWarning, match="the average begins where the parameters are"):
        optimizer.load_state_dict(plain.state_dict())
    state = optimizer.state[parameter]
    assert state["step"] == 1
    assert not state["exp_avg"].any()
    torch.testing.assert_close(state["exp_avg_sq"], plain.state[parameter]["exp_avg_sq"])
    before = parameter.detach().clone()
    optimizer.eval()
    assert torch.equal(parameter, before)


def test_groups_average_for_themselves():
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Adam([{"params": parameters[:1], "schedule_free": True}, {"params": parameters[1:]}], lr=0.1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.ones(3)
        optimizer.step()
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()
    assert not torch.equal(parameters[0], before[0])
    assert torch.equal(parameters[1], before[1])
