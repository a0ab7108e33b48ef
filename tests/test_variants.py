"""The switches of the rule: against the papers, against PyTorch, and what does not go together."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import adamkit
from adamkit import rule, variants
from adamkit.torch import Adam
from adamkit.variants import SWITCHES, Variant
from tests import reference

pytestmark = pytest.mark.slow  # seconds, all in all

switches = st.fixed_dictionaries({name: st.booleans() for name in SWITCHES})
options = st.fixed_dictionaries(
    {
        "beta_1": st.sampled_from([0.0, 0.3, 0.9, 0.99]),
        "beta_2": st.sampled_from([0.0, 0.5, 0.7, 0.99, 0.999, 0.99999]),
        "epsilon": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
        "epsilon_hat": st.booleans(),
        "momentum_decay": st.sampled_from([None, 0.004, 1.0]),
    }
)


def goes_together(switches, **others):
    try:
        variants.check(Variant(**switches), **others)
    except ValueError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(switches, options, st.booleans(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**16))
def test_steps_follow_the_papers(switches, options, amsgrad, dtype, seed):
    assume(not (switches["schedule_free"] and options["beta_1"] == 0))  # y says nothing of x then
    assume(goes_together(switches, amsgrad=amsgrad, epsilon_hat=options["epsilon_hat"]))
    if not switches["nesterov"]:
        options = options | {"momentum_decay": None}
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=5).astype(dtype)
    gradients = (rng.normal(size=(15, 5)) * 10 ** rng.uniform(-2, 2, (15, 1))).astype(dtype)
    named = {**options, **switches, "learning_rate": 0.01}
    expected = reference.run(theta, gradients, amsgrad=amsgrad, exact=True, **named)
    state = adamkit.init(theta, amsgrad=amsgrad, blockwise=switches["blockwise"])
    tolerance = 2000 * np.finfo(dtype).eps
    for gradient, exact in zip(gradients, expected, strict=True):
        theta, state = adamkit.step(theta, gradient, state, **named)
        np.testing.assert_allclose(theta, exact.theta.astype(np.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("beta", [0.0, 0.6, 0.9, 0.999, 0.99999])
def test_rectification_has_float32s_digits_where_it_is_traced(beta):
    decay = rule.Decay.of(beta)
    limit = 2 / (1 - mpmath.mpf(beta)) - 1
    for step in (1, 2, 4, 5, 6, 7, 20, 499, 501, 5000, 10**6):
        power = mpmath.mpf(beta) ** step
        length = limit - 2 * step * power / (1 - power)
        for xp, number in ((variants.math, step), (np, np.float32(step))):
            with np.errstate(all="ignore"):
                factor, found = variants.rectification(number, decay.complement, decay.log, xp)
            assert (found > 5) == (length > 5)
            if length > 5:
                exact = mpmath.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
                assert float(factor) == pytest.approx(float(exact), rel=3e-5 if xp is np else 1e-9)


def test_a_thousand_steps_are_those_of_pytorchs_radam():
    """Which adds ε before bias correction."""
    rng = np.random.default_rng(1)
    theirs = torch.nn.Parameter(torch.tensor(rng.normal(size=20)))
    ours = theirs.detach().numpy().copy()
    state, optimizer = adamkit.init(ours), torch.optim.RAdam([theirs], lr=0.01, weight_decay=0.1)
    for gradient in rng.normal(size=(1000, 20)) * 10 ** rng.uniform(-2, 2, (1000, 1)):
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
        ours, state = adamkit.step(
            ours,
            gradient,
            state,
            learning_rate=0.01,
            rectified=True,
            epsilon_hat=True,
            weight_decay=0.1,
            decoupled=False,
        )
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-8)


KINDS = [
    {"nesterov": True, "momentum_decay": 0.004},
    {"rectified": True},
    {"cautious": True},
    {"adopt": True, "nesterov": True, "cautious": True},
    {"schedule_free": True},
]


@pytest.mark.parametrize("switches", KINDS, ids="-".join)
@pytest.mark.parametrize("way", ["operations", "capturable", pytest.param("kernel", marks=pytest.mark.slow)])
def test_pytorch_steps_as_numpy(switches, way):
    """To the bit; where the step counter is a tensor, to rounding."""
    rng = np.random.default_rng(2)
    theta = rng.normal(size=(2, 30)).astype(np.float32)
    parameters = [torch.nn.Parameter(torch.tensor(row)) for row in theta]
    if way == "operations":  # of no layout that the kernel takes
        parameters = [torch.nn.Parameter(torch.tensor(np.stack([row, row], 1))[:, 0]) for row in theta]
    if way == "capturable" and "schedule_free" in switches:
        with pytest.raises(ValueError, match="schedule_free=True does not go with capturable=True"):
            Adam(parameters, capturable=True, **switches)
        return
    optimizer = Adam(parameters, lr=0.01, capturable=way == "capturable", **switches)
    states = [adamkit.init(row) for row in theta]
    rows = list(theta)
    for _ in range(12):
        for index, parameter in enumerate(parameters):
            gradient = rng.normal(size=30).astype(np.float32)
            parameter.grad = torch.tensor(gradient)
            rows[index], states[index] = adamkit.step(
                rows[index], gradient, states[index], learning_rate=0.01, **switches
            )
        optimizer.step()
    for parameter, row in zip(parameters, rows, strict=True):
        tolerance = {"rtol": 1e-5, "atol": 1e-7} if way == "capturable" else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(parameter.detach().numpy(), row, **tolerance)


def test_a_switch_is_an_option_of_a_group_and_of_its_checkpoint():
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Adam([{"params": parameters[:1], "nesterov": True}, {"params": parameters[1:]}], lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.tensor([1.0, -2.0, 0.5])
    optimizer.step()
    assert not torch.equal(*parameters)
    again = Adam([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert [group["nesterov"] for group in again.param_groups] == [True, False]
    plain = torch.optim.Adam(parameters, lr=0.1)
    plain.step()
    again = Adam(parameters, lr=0.1, nesterov=True)
    again.load_state_dict(plain.state_dict())
    assert again.param_groups[0]["nesterov"]


def test_a_cautious_step_never_goes_with_the_gradient():
    rng = np.random.default_rng(3)
    theta, state = np.zeros(200), adamkit.init(np.zeros(200))
    for gradient in rng.normal(size=(30, 200)):
        before = theta
        theta, state = adamkit.step(before, gradient, state, cautious=True)
        assert (((theta - before) * gradient) <= 0).all()
    theta, _ = adamkit.step(theta, np.full(200, np.nan), state, cautious=True)
    assert np.isnan(theta).all()


def test_adopts_first_step_only_sets_v():
    theta, state = adamkit.step(np.ones(3), np.array([3.0, 0.0, -1e9]), adamkit.init(np.ones(3)), adopt=True)
    np.testing.assert_array_equal(theta, 1)
    np.testing.assert_array_equal(state.second_moment, [9, 0, 1e18])


def test_what_means_nothing_together_is_an_error_that_says_why():
    for one, other in itertools.combinations((*SWITCHES, "amsgrad"), 2):
        on = {one: True, other: True}
        amsgrad = on.pop("amsgrad", False)
        together = {*on, *(["amsgrad"] if amsgrad else [])}
        refused = together in (
            {"rectified", "amsgrad"}, {"adopt", "amsgrad"}, {"adopt", "rectified"}, {"rectified", "blockwise"}
        ) or ("schedule_free" in together and not together & {"amsgrad", "blockwise"})  # fmt: skip
        assert goes_together(on, amsgrad=amsgrad) != refused
    for make in (
        lambda **switches: adamkit.step(np.ones(1), np.ones(1), adamkit.init(np.ones(1)), **switches),
        lambda **switches: Adam([torch.nn.Parameter(torch.ones(1))], **switches),
    ):
        with pytest.raises(ValueError, match="adopt=True does not go with rectified=True: it has no bias correction"):
            make(adopt=True, rectified=True)
        with pytest.raises(TypeError, match="nesterov must be True or False"):
            make(nesterov=1)
    with pytest.raises(ValueError, match="rectified=True needs adaptivity=True"):
        adamkit.step(np.ones(1), np.ones(1), adamkit.init(np.ones(1)), rectified=True, adaptivity=False)
    with pytest.raises(ValueError, match="adopt=True needs epsilon > 0"):
        Adam([torch.nn.Parameter(torch.ones(1))], eps=0.0, adopt=True)
