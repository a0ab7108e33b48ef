"""Adam-mini: against the paper's Algorithm 1, the oracle and each other, in each format, and from Adam and back."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adamkit
import adamkit.optax
from adamkit import blockwise
from adamkit.torch import Adam, steps, watch
from tests import reference

SHAPES = {"kernel": (3, 5), "convolution": (2, 2, 3, 5), "bias": (5,), "scale": ()}


@pytest.mark.parametrize("way", ["numpy", pytest.param("torch", marks=pytest.mark.slow), "optax"])
def test_a_thousand_steps_are_those_of_the_papers_algorithm(way):
    """Zhang et al. 2024, Algorithm 1, on a weight of PyTorch's (outputs, inputs): a block is a row."""
    eta, beta_1, beta_2, epsilon, decay, steps = 0.01, 0.9, 0.95, 1e-8, 0.1, 1000
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 6)), rng.normal(size=(steps, 4, 6)) * 10 ** rng.uniform(-3, 3, (steps, 1, 1))
    expected = start.copy()
    for row, block in enumerate(expected):  # param_blocks
        m, v = np.zeros(6), 0.0
        for t in range(1, steps + 1):
            g = gradients[t - 1, row]
            block -= eta * decay * block
            m = (1 - beta_1) * g + beta_1 * m
            v = (1 - beta_2) * np.mean(g * g) + beta_2 * v
            block -= eta * (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)

    if way == "torch":
        weight = torch.nn.Parameter(torch.tensor(start))
        optimizer = Adam(
            [weight], eta, (beta_1, beta_2), epsilon, decay, decoupled_weight_decay=True, blockwise=True
        )  # fmt: skip
        for gradient in torch.tensor(gradients):
            weight.grad = gradient
            optimizer.step()
        found = weight.detach().numpy()
    elif way == "numpy":
        found, state = start.T, adamkit.init(start.T, blockwise=True)
        options = {"learning_rate": eta, "beta_2": beta_2, "weight_decay": decay}
        for gradient in gradients:
            found, state = adamkit.step(found, gradient.T, state, blockwise=True, **options)
        found = found.T
    else:
        optimizer = adamkit.optax.adamw(eta, beta_1, beta_2, epsilon, weight_decay=decay, blockwise=True)

        def step(carried, gradient):
            x, state = carried
            updates, state = optimizer.update(gradient, state, x)
            return (optax.apply_updates(x, updates), state), None

        x = jnp.asarray(start.T, jnp.float32)
        rows = jnp.asarray(gradients.transpose(0, 2, 1), jnp.float32)
        (x, _), _ = jax.jit(lambda carried: jax.lax.scan(step, carried, rows))((x, optimizer.init(x)))
        found = np.asarray(x).T
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if way == "optax" else {"rtol": 1e-9}  # float32, of 1,000 steps of 0.01
    np.testing.assert_allclose(found, expected, **tolerance)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 3), max_size=4),
    st.fixed_dictionaries({name: st.booleans() for name in ("nesterov", "cautious", "epsilon_hat", "bias_correction")}),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_steps_of_any_shape_follow_the_oracle(shape, switches, amsgrad, seed):
    rng = np.random.default_rng(seed)
    theta, gradients = rng.normal(size=shape), rng.normal(size=(6, *shape))
    named = {**switches, "learning_rate": 0.01, "beta_2": 0.9, "weight_decay": 0.01, "blockwise": True}
    expected = reference.run(theta, gradients, amsgrad=amsgrad, **named)[-1]
    state = adamkit.init(theta, amsgrad=amsgrad, blockwise=True)
    for gradient in gradients:
        theta, state = adamkit.step(theta, gradient, state, **named)
    np.testing.assert_allclose(theta, expected.theta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.broadcast_to(state.second_moment, theta.shape), expected.v, rtol=1e-12)
    assert state.second_moment.size == (shape[-1] if len(shape) > 1 else 1)


def turned(array):
    """Between Keras's (…, inputs, outputs) and PyTorch's (outputs, inputs, …), for what a block is."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)) if array.ndim > 1 else array


@functools.cache
def gradients_of(name, steps=6):
    return np.random.default_rng(len(name)).normal(size=(steps, *SHAPES[name])).astype(np.float32)


OTHERS = [{}, {"adopt": True}, {"schedule_free": True}, {"cautious": True, "nesterov": True}]


@pytest.mark.parametrize("switches", OTHERS, ids="-".join)
def test_pytorch_and_optax_step_as_numpy(switches):
    start = {name: np.full(shape, 0.5, np.float32) for name, shape in SHAPES.items()}
    parameters = {name: torch.nn.Parameter(torch.tensor(turned(value))) for name, value in start.items()}
    optimizer = Adam(parameters.items(), lr=0.01, blockwise=True, **switches)
    transformation = adamkit.optax.adam(0.01, blockwise=True, **switches)
    tree = {name: jnp.asarray(value) for name, value in start.items()}
    kept = transformation.init(tree)
    update = jax.jit(transformation.update)
    states = {name: adamkit.init(value, blockwise=True) for name, value in start.items()}
    for step in range(6):
        gradients = {name: gradients_of(name)[step] for name in SHAPES}
        for name, gradient in gradients.items():
            parameters[name].grad = torch.tensor(turned(gradient))
            start[name], states[name] = adamkit.step(
                start[name], gradient, states[name], learning_rate=0.01, blockwise=True, **switches
            )
        optimizer.step()
        updates, kept = update(gradients, kept, tree)
        tree = optax.apply_updates(tree, updates)
    for name, expected in start.items():
        np.testing.assert_allclose(parameters[name].detach().numpy(), turned(expected), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(tree[name], expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def ways(monkeypatch):
    """The kernels that the first steps of a test take parameters by; None where there is none."""
    found, kernel_for = [], steps.kernel_for
    monkeypatch.setattr(steps, "kernel_for", lambda slot, step: found.append(kernel_for(slot, step)) or found[-1])
    return found


def tensors_stepped(gradients, dtype=torch.float32, **options):
    """The optimizer after a step of each list of gradients, one a parameter; all tensors that it keeps, and these."""
    start = [
        torch.empty_like(g, dtype=dtype).copy_(torch.linspace(-1, 1, g.numel()).view(g.shape)) for g in gradients[0]
    ]
    parameters = list(map(torch.nn.Parameter, start))
    optimizer = Adam(parameters, lr=0.01, blockwise=True, **options)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.to(dtype)
        optimizer.step()
    return parameters, [optimizer.state[parameter] for parameter in parameters]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "moment_dtype", "switches"),
    [
        (torch.float32, "float32", {}),
        (torch.float64, "float32", {"amsgrad": True}),
        (torch.float32, "bfloat16", {"adopt": True, "nesterov": True}),
        (torch.bfloat16, "int8", {"schedule_free": True, "amsgrad": True}),
        (torch.float16, "int8", {"cautious": True}),
    ],
)
def test_the_cpu_kernel_has_the_bits_of_the_rule_where_sums_are_exact(dtype, moment_dtype, switches, ways, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    shapes = [(7, 1024), (300, 64), (3, 2**16), (70, 8, 4, 2), (128,), (), (0, 4)]
    gradients = [[torch.randint(-2, 3, shape, generator=draw).float() for shape in shapes] for _ in range(4)]
    if moment_dtype == "float32":
        for step in gradients:
            step.append(step[3].to(memory_format=torch.channels_last))
    options = {"betas": (0.9, 0.75), "weight_decay": 0.1, "decoupled_weight_decay": True, "moment_dtype": moment_dtype}
    options |= {"parameter_rounding": "compensated8", **switches}
    found = tensors_stepped(gradients, dtype, **options)
    assert set(ways) == {"cpu"}
    monkeypatch.setattr(steps, "kernel_for", lambda slot, step: None)
    torch.testing.assert_close(found, tensors_stepped(gradients, dtype, **options), rtol=0, atol=0)


def test_the_cpu_kernel_sums_rows_of_any_length_alike_for_any_number_of_threads(ways, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    shapes = [(30, 1000), (3, 40_001), (70_000,), (5, 3, 3)]
    gradients = [[size * torch.randn(shape, generator=draw) for shape in shapes] for size in (1.0, 1e-3, 1e30, 30.0)]
    every = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        every.append(tensors_stepped(gradients, weight_decay=0.1))
    assert set(ways) == {"cpu"}
    monkeypatch.setattr(steps, "kernel_for", lambda slot, step: None)
    torch.testing.assert_close(every[0], tensors_stepped(gradients, weight_decay=0.1), rtol=2e-6, atol=1e-8)
    for other in every[1:]:
        torch.testing.assert_close(other, every[0], rtol=0, atol=0)


def test_the_cpu_kernel_leaves_int8_rows_that_share_a_scale_to_operations(ways):
    shapes = [(100, 100), (100, 128), (10_000,)]
    tensors_stepped([[torch.ones(shape) for shape in shapes]], moment_dtype="int8")
    assert ways == [None, "cpu", "cpu"]


def test_a_nan_stays_in_its_row():
    gradient = torch.ones(300, 700)
    gradient[7, 650] = torch.nan
    (parameter,), (state,) = tensors_stepped([[gradient]], amsgrad=True)
    of_rows = parameter.isnan().all(dim=1), state["exp_avg_sq"].isnan(), state["max_exp_avg_sq"].isnan()
    assert [rows.flatten().nonzero().tolist() for rows in of_rows] == [[[7]]] * 3
    assert parameter.isnan().sum() == 700


@pytest.mark.parametrize(("moment_dtype", "bytes_"), [("float32", 4), ("bfloat16", 2), ("int8", 65 / 64)])
def test_v_takes_next_to_nothing_in_each_format(moment_dtype, bytes_):
    weight = torch.nn.Parameter(torch.ones(64, 128))
    optimizer = Adam([weight, torch.nn.Parameter(torch.ones(64))], moment_dtype=moment_dtype, blockwise=True)
    of_v = 2 if moment_dtype == "bfloat16" else 4
    of_bias = 64 * (4 if moment_dtype == "int8" else bytes_) + of_v
    assert optimizer.describe().bytes == 64 * 128 * bytes_ + 64 * of_v + of_bias
    x = {"kernel": jnp.ones((128, 64)), "bias": jnp.ones(64)}
    state = adamkit.optax.adam(0.1, moment_dtype=moment_dtype, blockwise=True).init(x)
    assert adamkit.optax.describe(x, state).bytes == optimizer.describe().bytes
    weight.grad = torch.ones(64, 128)
    optimizer.step()
    kept = optimizer.state[weight]
    assert sum(one.numel() * one.element_size() for name, one in kept.items() if name != "step") == (
        64 * 128 * bytes_ + 64 * of_v
    )
    assert kept["exp_avg_sq"].dtype is (torch.bfloat16 if moment_dtype == "bfloat16" else torch.float32)
    assert kept["exp_avg_sq"].shape == (64, 1)


def stepped(optimizer, steps=3):
    """An optimizer after some steps, whose gradients differ in size within blocks."""
    for step in range(steps):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                spread = torch.logspace(-1, 1, parameter.numel()).reshape(parameter.shape)
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
                parameter.grad = (noise * spread).to(parameter.dtype)
        optimizer.step()
    return optimizer


def network(dtype=torch.float32):
    return [torch.nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in [(64, 80), (64,)]]


@pytest.mark.parametrize("moment_dtype", ["float32", "int8"])
def test_adams_checkpoint_goes_on_with_the_means_that_blocks_would_have_had(moment_dtype):
    """v is linear in g², so that the mean of Adam's v is what blockwise has had all along."""
    adam = stepped(torch.optim.Adam(network()))
    expected = stepped(Adam(network(), blockwise=True))
    found = Adam(network(), blockwise=True, moment_dtype=moment_dtype)
    found.load_state_dict(adam.state_dict())
    for ours, theirs in zip(found.state.values(), expected.state.values(), strict=True):
        assert ours["exp_avg_sq"].shape == theirs["exp_avg_sq"].shape
        torch.testing.assert_close(ours["exp_avg_sq"], theirs["exp_avg_sq"], rtol=1e-5, atol=0)
    stepped(found)


def test_a_checkpoint_of_its_own_goes_on_to_the_bit_and_brings_the_switch():
    whole = stepped(stepped(Adam(network(), moment_dtype="int8", amsgrad=True, blockwise=True)))
    saved = stepped(Adam(network(), moment_dtype="int8", amsgrad=True, blockwise=True))
    again = Adam(saved.param_groups[0]["params"], moment_dtype="int8", amsgrad=True)
    again.load_state_dict(saved.state_dict())
    assert again.param_groups[0]["blockwise"]
    stepped(again)
    for one, other in zip(whole.param_groups[0]["params"], again.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_without_blocks_each_element_begins_with_the_v_of_its_block_and_a_warning_says_so():
    saved = stepped(Adam(network(), blockwise=True))
    state = saved.state_dict()
    for group in state["param_groups"]:
        group["blockwise"] = False
    plain = Adam(network())
    with pytest.warns(UserWarning, match="the saved state is blockwise"):
        plain.load_state_dict(state)
    for ours, theirs in zip(plain.state.values(), saved.state.values(), strict=True):
        torch.testing.assert_close(ours["exp_avg_sq"], theirs["exp_avg_sq"].expand(ours["exp_avg"].shape))
    stepped(plain)
    state["state"] = {0: state["state"][0] | {"exp_avg_sq": torch.ones(64, 3)}}
    with pytest.raises(ValueError, match=r"'exp_avg_sq' of .* must have the shape \(64, 80\)"):
        plain.load_state_dict(state)
    # A group may change its mind, too.
    saved.param_groups[0]["blockwise"] = False
    with pytest.warns(UserWarning, match="the saved state is blockwise"):
        stepped(saved)
    saved.param_groups[0]["blockwise"] = True
    stepped(saved)
    assert saved.state[saved.param_groups[0]["params"][0]]["exp_avg_sq"].shape == (64, 1)


@pytest.mark.parametrize("moment_dtype", ["float32", pytest.param("int8", marks=pytest.mark.slow)])
def test_optaxs_state_comes_and_goes(moment_dtype):
    x = {"kernel": jnp.ones((80, 64)), "bias": jnp.ones(64)}
    plain, ours = optax.adam(0.1), adamkit.optax.adam(0.1, blockwise=True, moment_dtype=moment_dtype)
    v = {"kernel": jnp.linspace(0.1, 9, 80 * 64).reshape(80, 64), "bias": jnp.linspace(1, 2, 64)}
    begun, *rest = plain.init(x)
    taken = adamkit.optax.from_optax((begun._replace(nu=v), *rest), blockwise=True, moment_dtype=moment_dtype)
    assert jax.tree.structure(taken[0]) == jax.tree.structure(ours.init(x)[0])
    np.testing.assert_allclose(taken[0].nu["kernel"], v["kernel"].mean(axis=0, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(taken[0].nu["bias"], v["bias"].mean(keepdims=True), rtol=1e-5)
    with pytest.warns(UserWarning, match="the saved state is blockwise"):
        back = adamkit.optax.to_optax(taken)
    np.testing.assert_array_equal(back[0].nu["kernel"], np.broadcast_to(taken[0].nu["kernel"], (80, 64)))


def test_it_goes_from_optax_to_pytorch_and_back_to_the_bit():
    x = {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}
    transformation = adamkit.optax.adam(0.1, blockwise=True)
    _, state = transformation.update(jax.tree.map(lambda one: one * 3.0, x), transformation.init(x), x)
    parameters = {"weight": torch.nn.Parameter(torch.ones(6, 4)), "bias": torch.nn.Parameter(torch.ones(6))}
    optimizer = Adam(parameters.items(), blockwise=True)
    names = {"weight": ("kernel", (1, 0)), "bias": "bias"}
    optimizer.load_state_dict(adamkit.convert(state, to="torch", like=optimizer, names=names))
    assert optimizer.state[parameters["weight"]]["exp_avg_sq"].shape == (6, 1)
    back = {"kernel": ("weight", (1, 0)), "bias": "bias"}
    again = adamkit.convert(optimizer, to="optax", like=transformation.init(x), names=back)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    # An embedding's table is not turned, so that its blocks are others.
    parameters["weight"] = torch.nn.Parameter(torch.ones(4, 6))
    optimizer = Adam(parameters.items(), blockwise=True)
    given = adamkit.convert(state, to="torch", like=optimizer, names={"weight": "kernel", "bias": "bias"})
    with pytest.warns(UserWarning, match="or has other blocks"):
        optimizer.load_state_dict(given)
    assert optimizer.state[parameters["weight"]]["exp_avg_sq"].shape == (4, 1)


def test_frequent_rows_that_share_a_v_with_rare_ones_go_further_than_with_adam():
    """What the docs warn of, for a table of embeddings in Keras and flax, whose columns are blocks."""
    often, ways = np.r_[np.full(3, 0.5), np.full(97, 0.01)], {}
    for on in (False, True):
        rng, x, state = np.random.default_rng(0), np.zeros((100, 2)), adamkit.init(np.zeros((100, 2)), blockwise=on)
        for _ in range(300):
            gradient = (rng.random(100) < often)[:, None] * np.ones(2)
            x, state = adamkit.step(x, gradient, state, blockwise=on)
        ways[on] = -x.mean(axis=1)
    assert ways[True][:3].mean() > 3 * ways[False][:3].mean()


@pytest.mark.parametrize("beta_2", [0.0, 0.9, 0.999])
def test_any_finite_gradient_gives_a_finite_step_and_nan_stays_in_its_block(beta_2):
    largest = np.finfo(np.float32).max
    x, state = np.zeros((300, 3), np.float32), adamkit.init(np.zeros((300, 3), np.float32), blockwise=True)
    for size in (largest, 1e-30, -largest, 1e20):
        gradient = np.full((300, 3), size, np.float32)
        with np.errstate(under="ignore"):
            x, state = adamkit.step(x, gradient, state, learning_rate=0.1, beta_2=beta_2, blockwise=True)
        assert np.isfinite(x).all()
        assert np.isfinite(state.second_moment).all()
    gradient[7, 1] = np.nan
    x, state = adamkit.step(x, gradient, state, beta_2=beta_2, blockwise=True)
    assert (np.isnan(x).all(axis=0) == [False, True, False]).all()
    assert not np.isnan(x[:, [0, 2]]).any()


def test_arrays_of_nothing_and_complex_numbers():
    empty = np.zeros((0, 3))
    assert adamkit.step(empty, empty, adamkit.init(empty, blockwise=True), blockwise=True)[0].shape == (0, 3)
    weight = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.complex64))
    optimizer = Adam([weight], lr=0.1, blockwise=True)
    weight.grad = torch.full((2, 3), 2 + 0j)
    weight.grad[:, 1] = 1j
    optimizer.step()
    root = np.sqrt(2 / 3)  # of the mean of g²/2², of two of three elements
    np.testing.assert_allclose(weight.detach()[:, 0].numpy(), 1 - 0.1 / root, rtol=1e-5)
    np.testing.assert_allclose(weight.detach()[:, 1].numpy(), 1 - 0.1j * np.sqrt(3), rtol=1e-5)


def test_it_can_be_differentiated_and_captured():
    plain = network()
    stepped(Adam(plain, blockwise=True))
    for options in ({"differentiable": True}, {"capturable": True}):
        tensors = [parameter.detach() for parameter in network()]
        stepped(Adam(tensors, blockwise=True, **options))
        for one, other in zip(plain, tensors, strict=True):
            torch.testing.assert_close(one.detach(), other, rtol=1e-5, atol=1e-6)


def test_what_it_does_not_go_with_is_an_error_that_says_why():
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match="rectified=True does not go with blockwise=True: it corrects the variance"):
        Adam([parameter], blockwise=True, rectified=True)
    with pytest.raises(
        ValueError, match="blockwise=True does not go with lazy=True: the v of a block is of whole gradients"
    ):
        Adam([parameter], blockwise=True, lazy=True)
    with pytest.raises(ValueError, match="blockwise=True needs adaptivity=True: what it averages is v"):
        adamkit.step(np.ones(2), np.ones(2), adamkit.init(np.ones(2), blockwise=True), blockwise=True, adaptivity=False)
    for on in (True, False):
        with pytest.raises(ValueError, match=rf"state must be of init\(parameter, blockwise={on}\), whose v has"):
            adamkit.step(np.ones(2), np.ones(2), adamkit.init(np.ones(2), blockwise=not on), blockwise=on)
    with pytest.raises(TypeError, match="blockwise must be True or False"):
        adamkit.init(np.ones(2), blockwise=1)
    with pytest.raises(TypeError, match="blockwise must be True or False"):
        adamkit.optax.from_optax(optax.adam(0.1).init(jnp.ones(2)), blockwise=1)


def test_watch_looks_at_it():
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = Adam([weight], lr=10.0, blockwise=True)
    watching = watch(optimizer, warn=False)
    for _ in range(3):
        weight.grad = torch.ones(2, 3)
        optimizer.step()
    assert [finding.kind for finding in watching.found] == ["large-steps"]


def test_a_v_of_the_same_blocks_is_taken_as_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        v = np.float32([[0.1, 0.3]])
        assert blockwise.fitted(v, (1, 2), np) is v
        np.testing.assert_array_equal(blockwise.fitted(np.float32([[0.0, 2.0], [1.0, 4.0]]), (1, 2), np), [[0.5, 3.0]])
