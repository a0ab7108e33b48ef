"""Nesterov's momentum with Dozat's schedule: its sums, and `torch.optim.NAdam` and `keras.optimizers.Nadam`."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import adamkit
import adamkit.optax
import adamkit.torch
from adamkit import variants
from adamkit.keras import Adam

PSI = 0.004  # PyTorch's
OF_NADAM = {"nesterov": True, "momentum_decay": PSI}
pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the step is the rule's on every backend")


@pytest.mark.slow
@pytest.mark.parametrize("psi", [1e-9, PSI, 1.0, 1e4])
def test_the_product_is_a_running_ones_without_keeping_it(psi):
    """To the digits that float64 has on the host, and float32 where it is traced, for every t."""
    last = 10**6
    falls = 0.5 * np.exp(-psi * np.arange(1, last + 2) * -np.log(np.longdouble(0.96)))
    exact = np.cumsum(np.log1p(-falls))
    steps = np.unique(np.geomspace(1, last, 300).astype(int))
    traced = variants.momentum_schedule(steps.astype(np.float32), psi, np)
    host = np.array([variants.momentum_schedule(int(step), psi) for step in steps]).T
    for values, tolerance in ((traced, 1e-6), (host, 1e-14)):
        assert values[2].dtype == (np.float32 if values is traced else np.float64)
        expected = falls[steps - 1], falls[steps], exact[steps - 1]  # of which the first two are taken from 1
        for found, value, absolute in zip(values, expected, (tolerance, tolerance, 1e-30), strict=True):
            np.testing.assert_allclose(found, value.astype(np.float64), rtol=tolerance, atol=absolute)


def gradients(steps, size, dtype):
    rng = np.random.default_rng(1)
    return (rng.normal(size=(steps, size)) * 10 ** rng.uniform(-2, 2, (steps, 1))).astype(dtype)


def test_a_thousand_steps_are_pytorchs_nadam():
    """In float64 by NumPy, in float32 by PyTorch."""
    start = np.random.default_rng(0).normal(size=20)
    theirs = torch.nn.Parameter(torch.tensor(start))
    narrow, wide, state = torch.nn.Parameter(torch.tensor(start).float()), start, adamkit.init(start)
    options = {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}
    before, after = torch.optim.NAdam([theirs], **options), adamkit.torch.Adam([narrow], **options, **OF_NADAM)
    for gradient in gradients(1000, 20, "float64"):
        theirs.grad, narrow.grad = torch.tensor(gradient), torch.tensor(gradient).float()
        before.step()
        after.step()
        wide, state = adamkit.step(wide, gradient, state, learning_rate=0.01, weight_decay=0.1, **OF_NADAM)
    np.testing.assert_allclose(wide, theirs.detach(), rtol=1e-8)  # whose product of momenta is a float32
    np.testing.assert_allclose(narrow.detach(), theirs.detach(), rtol=2e-5, atol=2e-5)


def test_a_thousand_steps_are_keras_nadam():
    start = np.random.default_rng(0).normal(size=20).astype("float32")
    found = []
    for make in (keras.optimizers.Nadam, lambda rate: Adam(rate, nesterov=True, momentum_decay=1.0)):
        variable, optimizer = keras.Variable(start), make(0.01)
        optimizer.build([variable])

        def step(carry, gradient, optimizer=optimizer):
            return optimizer.stateless_apply(carry[1], [gradient], carry[0]), None

        state = [variable.value], [one.value for one in optimizer.variables]
        (values, _), _ = jax.jit(lambda state, all_of_them, step=step: jax.lax.scan(step, state, all_of_them))(
            state, gradients(1000, 20, "float32")
        )
        found.append(np.asarray(values[0]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_optax_steps_as_numpy():
    theta = np.random.default_rng(0).normal(size=20).astype("float32")
    optimizer = adamkit.optax.adam(0.01, **OF_NADAM)
    params, kept = jnp.asarray(theta), adamkit.init(theta)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient in gradients(12, 20, "float32"):
        changes, state = update(gradient, state)
        params = params + changes
        theta, kept = adamkit.step(theta, gradient, kept, learning_rate=0.01, **OF_NADAM)
    np.testing.assert_allclose(params, theta, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_pytorchs_nadam_goes_on():
    theirs, ours = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    before = torch.optim.NAdam([theirs], lr=0.01, momentum_decay=0.05)

    def step(optimizer, parameter, gradient):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()

    first, second = gradients(6, 5, "float32").reshape(2, 3, 5)
    for gradient in first:
        step(before, theirs, gradient)
    with torch.no_grad():
        ours.copy_(theirs)
    after = adamkit.torch.Adam([ours], lr=1.0)
    after.load_state_dict(before.state_dict())
    assert after.param_groups[0]["nesterov"]
    assert after.param_groups[0]["momentum_decay"] == 0.05
    assert set(after.state[ours]) == {"step", "exp_avg", "exp_avg_sq"}  # the product follows from the steps
    assert "momentum_decay 0.05" in str(after.describe())
    for gradient in second:
        step(before, theirs, gradient)
        step(after, ours, gradient)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-6)


def test_a_run_of_keras_nadam_goes_on():
    """Taken over, from its file, and in another framework."""
    first, second = gradients(4, 5, "float32").reshape(2, 2, 5)

    def begun():
        variable, optimizer = keras.Variable(np.ones(5, "float32")), keras.optimizers.Nadam(0.01)
        apply(optimizer, variable, first)
        return optimizer, variable

    def apply(optimizer, variable, by_step):
        for gradient in by_step:
            optimizer.apply([jnp.asarray(gradient)], [variable])

    theirs, expected = begun()
    optimizer, taken = begun()
    ours = Adam.from_keras(optimizer)
    assert (ours.momentum_decay, ours.nesterov, ours.epsilon_hat) == (1.0, True, False)
    loaded, of_file = keras.Variable(taken.value), Adam(0.01, nesterov=True, momentum_decay=1.0)
    of_file.build([loaded])
    store = {}
    optimizer.save_own_variables(store)
    of_file.load_own_variables(store)
    parameter = torch.nn.Parameter(torch.tensor(np.asarray(taken.value)))
    of_torch = adamkit.torch.Adam([parameter], lr=0.01, eps=1e-7, nesterov=True, momentum_decay=1.0)
    of_torch.load_state_dict(adamkit.convert(optimizer, to="torch", like=of_torch))
    apply(theirs, expected, second)
    apply(ours, taken, second)
    apply(of_file, loaded, second)
    for gradient in second:
        parameter.grad = torch.tensor(gradient)
        of_torch.step()
    for one in (taken.value, loaded.value, parameter.detach()):
        np.testing.assert_allclose(one, expected.value, rtol=1e-5)


def test_it_is_of_nesterovs_momentum_alone():
    makers = (
        lambda **options: adamkit.step(np.ones(1), np.ones(1), adamkit.init(np.ones(1)), **options),
        lambda **options: adamkit.torch.Adam([torch.nn.Parameter(torch.ones(1))], **options),
        lambda **options: Adam(**options),
        lambda **options: adamkit.optax.adam(0.1, **options),
    )
    for make in makers:
        with pytest.raises(ValueError, match=r"momentum_decay needs nesterov=True: .* Received: momentum_decay=0.004"):
            make(momentum_decay=PSI)
        with pytest.raises(ValueError, match="momentum_decay must be > 0, or None for a momentum that stays β₁"):
            make(nesterov=True, momentum_decay=0.0)
        with pytest.raises(TypeError, match="momentum_decay must be a finite number"):
            make(nesterov=True, momentum_decay="0.004")
