"""The learning rate found while training, in every drop-in, against the authors' optimizer and optax's."""

import jax
import keras
import numpy as np
import optax
import prodigyopt
import pytest
import torch

import adamkit
import adamkit.optax
from adamkit import lab
from adamkit.keras import Adam as KerasAdam
from adamkit.lab.errors import InputError
from adamkit.torch import Adam
from tests import reference

pytestmark = pytest.mark.slow  # seconds, all in all

STEPS = 1000
SHAPES = ((3, 4), (5,))


@pytest.fixture(scope="module")
def problem():
    """A noisy quadratic, far from its minimum."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    noise = [rng.normal(size=(STEPS, *shape)).astype("float32") for shape in SHAPES]
    return start, lambda step, theta: [0.1 * one[step] + value for one, value in zip(noise, theta, strict=True)]


def torch_run(make, problem):
    start, gradient = problem
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    optimizer = make(parameters)
    for step in range(STEPS):
        gradients = gradient(step, [parameter.detach().numpy() for parameter in parameters])
        for parameter, value in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(value)
        optimizer.step()
    return optimizer, [parameter.detach().numpy() for parameter in parameters]


@pytest.fixture(scope="module")
def theirs(problem):
    optimizer, found = torch_run(lambda parameters: prodigyopt.Prodigy(parameters, use_bias_correction=True), problem)
    return optimizer.param_groups[0]["d"], found


def test_a_thousand_steps_of_pytorch_are_the_authors(problem, theirs):
    """By the kernel, and by operations on what it does not take."""
    d, expected = theirs
    optimizer, found = torch_run(lambda parameters: Adam(parameters, lr="auto"), problem)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(d, rel=1e-5)
    assert d > 0.01
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_run_of_pytorch_goes_on_from_its_checkpoint_and_not_from_another(problem):
    start, _ = problem
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    optimizer = Adam(parameters, lr="auto")

    def step(optimizer, parameters):
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
        optimizer.step()

    for _ in range(4):
        step(optimizer, parameters)
    assert optimizer.param_groups[0]["lr"] > 1e-6
    assert sum(row.bytes for row in optimizer.describe().rows) == 16 * 17  # m, v, the start and s
    copies = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    again = Adam(copies, lr="auto")
    again.load_state_dict(optimizer.state_dict())
    for _ in range(3):
        step(optimizer, parameters)
        step(again, copies)
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for one, other in zip(parameters, copies, strict=True):
        assert torch.equal(one, other)
    plain = torch.optim.Adam(copies)
    step(plain, copies)
    with pytest.warns(UserWarning, match="found anew"):
        again.load_state_dict(plain.state_dict())
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert not again.state[copies[0]]
    step(again, copies)


def test_each_group_finds_its_own(problem):
    start, _ = problem
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    optimizer = Adam([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.25}], lr="auto", maximize=True)
    for _ in range(5):
        for parameter in parameters:
            parameter.grad = -parameter.detach()
        optimizer.step()
    first, second = optimizer.param_groups
    assert first["lr"] > 1e-6
    assert (second["lr"], second["auto"]) == (0.25, False)


def test_a_thousand_steps_on_jax_are_optaxs(problem):
    start, gradient = problem
    variables = [keras.Variable(value) for value in start]
    optimizer = KerasAdam("auto", epsilon=1e-8, epsilon_hat=True)
    peer = optax.contrib.prodigy()
    params = [value.copy() for value in start]
    state = peer.init(params)

    @jax.jit
    def theirs(gradients, state, params):
        updates, state = peer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def of_optax(gradients, state, params):
        updates, state = ours_in_optax.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    ours_in_optax = adamkit.optax.adam("auto")
    pair = start, ours_in_optax.init(start)
    optimizer.build(variables)
    values = ([v.value for v in variables], [v.value for v in optimizer.variables])

    @jax.jit
    def ours(gradients, trainable, state):
        return optimizer.stateless_apply(state, gradients, trainable)

    for step in range(STEPS):
        params, state = theirs(gradient(step, [np.asarray(p) for p in params]), state, params)
        pair = of_optax(gradient(step, [np.asarray(p) for p in pair[0]]), *pair[::-1])
        values = ours(gradient(step, [np.asarray(v) for v in values[0]]), *values)
    places = [id(variable) for variable in optimizer.variables]
    rate = values[1][places.index(id(optimizer._learning_rate))]
    assert float(rate) == pytest.approx(float(state.estim_lr), rel=1e-4)
    assert float(pair[1].distance) == pytest.approx(float(state.estim_lr), rel=1e-4)
    for one, another, expected in zip(values[0], pair[0], params, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(another, expected, rtol=1e-4, atol=1e-4)


def test_keras_shows_saves_and_goes_on_with_the_rate_that_it_found(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(KerasAdam("auto"), loss="mse")
    model.fit(x, x[:, :1], batch_size=16, epochs=6, verbose=0, shuffle=False)
    found = float(model.optimizer.learning_rate)
    assert found > 1e-4
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(x, x[:, :1], batch_size=16, epochs=2, verbose=0, shuffle=False)
    assert float(again.optimizer.learning_rate) == pytest.approx(float(model.optimizer.learning_rate), rel=1e-4)
    assert float(again.optimizer.learning_rate) >= found
    np.testing.assert_allclose(again.get_weights()[0], model.get_weights()[0], rtol=1e-4)


def test_the_lab_shows_it_after_each_epoch_as_fit_finds_it():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    found = []
    for fit in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(KerasAdam("auto"), loss="mse")
        options = {"batch_size": 16, "epochs": 6, "shuffle": False}
        if fit:
            model.fit(x, x[:, :1], verbose=0, **options)
        else:
            history = lab.train(model, x, x[:, :1], **options).history
        found.append(float(model.optimizer.learning_rate))
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert history.learning_rate.iloc[-1] == pytest.approx(found[0])
    assert history.learning_rate.is_monotonic_increasing
    with pytest.raises(InputError, match="so that none can be swept"):
        lab.sweep(model, x, x[:, :1], space={"learning_rate": "1e-3..1e-1:log:2"}, epochs=1)


@pytest.mark.parametrize("options", [{"rectified": True}, {"adopt": True}, {"schedule_free": True}], ids="-".join)
def test_what_does_not_go_with_it_is_an_error(options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"lr='auto' does not go with {name}=True"):
        Adam([torch.nn.Parameter(torch.ones(1))], lr="auto", **options)
    with pytest.raises(ValueError, match=f"learning_rate='auto' does not go with {name}=True"):
        KerasAdam("auto", **options)
    with pytest.raises(ValueError, match=f"learning_rate='auto' does not go with {name}=True"):
        adamkit.optax.adam("auto", **options)


@pytest.mark.parametrize("framework", ["torch", "keras", "optax"])
def test_it_is_not_carried_to_another_framework(framework):
    parameter = torch.nn.Parameter(torch.ones(2))
    if framework == "torch":
        state = Adam([parameter], lr="auto")
    elif framework == "keras":
        state = KerasAdam("auto")
        state.build([keras.Variable(np.ones(2))])
    else:
        state = adamkit.optax.adam("auto").init(np.ones(2))
    target = KerasAdam() if framework == "torch" else Adam([parameter])
    with pytest.raises(ValueError, match="state must have a learning rate of its own"):
        adamkit.convert(state, to="keras" if framework == "torch" else "torch", like=target)


def test_other_words_are_errors():
    with pytest.raises(TypeError, match=r"lr must be a finite number >= 0 or 'auto'\. Received: 'fast'"):
        Adam([torch.nn.Parameter(torch.ones(1))], lr="fast")
    with pytest.raises(ValueError, match="lr='auto' needs decoupled_weight_decay=True"):
        Adam([torch.nn.Parameter(torch.ones(1))], lr="auto", weight_decay=0.1)
    with pytest.raises(TypeError, match="learning_rate must be"):
        KerasAdam("fast")
    with pytest.raises(ValueError, match="learning_rate must be a number, a schedule or 'auto'"):
        adamkit.optax.adamw("fast")


@pytest.mark.parametrize(
    "options",
    [{"epsilon": 0.1}, {"epsilon": 0.1, "nesterov": True, "weight_decay": 0.01}, {"amsgrad": True, "beta_1": 0.5}],
    ids=str,
)
def test_every_drop_in_steps_as_the_paper(problem, options):
    """From θ₀ = 0, where θ₀ - θ has all digits; ε is so large that it matters where it stands."""
    goal, noisy = problem
    start = [np.zeros_like(value) for value in goal]

    def gradient(step, values):
        return noisy(step, [value - end for value, end in zip(values, goal, strict=True)])

    steps, sizes = 40, [value.size for value in start]
    named = {"beta_1": 0.9, "epsilon": 1e-8} | options
    betas = (named.pop("beta_1"), 0.99)
    epsilon, weight_decay = named.pop("epsilon"), named.pop("weight_decay", 0.0)

    def parts(flat):
        split = np.split(np.asarray(flat, "float64"), np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(split, SHAPES, strict=True)]

    def flat(values):
        return np.concatenate([np.ravel(np.asarray(value, "float64")) for value in values])

    found = reference.found_start(flat(start), exact=True)
    for step in range(steps):
        given = flat(gradient(step, parts(found.adam.theta)))
        found = reference.found_step(
            found,
            given,
            beta_1=betas[0],
            beta_2=betas[1],
            epsilon=epsilon,
            weight_decay=weight_decay,
            exact=True,
            **named,
        )
    expected, rate = found.adam.theta.astype(float), float(found.d)
    assert rate > 1e-5

    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        ours = [torch.nn.Parameter(torch.tensor(value, dtype=dtype)) for value in start]
        own = {"weight_decay": weight_decay, "decoupled_weight_decay": True}
        optimizer = Adam(ours, lr="auto", betas=betas, eps=epsilon, **own, **named)
        for step in range(steps):
            for parameter, value in zip(ours, gradient(step, [one.detach().numpy() for one in ours]), strict=True):
                parameter.grad = torch.tensor(value, dtype=dtype)
            optimizer.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=tolerance)
        np.testing.assert_allclose(flat(one.detach() for one in ours), expected, rtol=tolerance, atol=tolerance)

    of_keras = KerasAdam("auto", *betas, epsilon, weight_decay=weight_decay, **named)
    variables = [keras.Variable(value) for value in start]
    of_keras.build(variables)
    apply = jax.jit(of_keras.stateless_apply)
    values, kept = [one.value for one in variables], [one.value for one in of_keras.variables]
    if not named.get("amsgrad"):  # which optax has by another name, and not with "auto"
        make = adamkit.optax.adamw("auto", *betas, epsilon, weight_decay=weight_decay, **named)
        params, state, update = start, make.init(start), jax.jit(make.update)
    for step in range(steps):
        values, kept = apply(kept, gradient(step, [np.asarray(one) for one in values]), values)
        if not named.get("amsgrad"):
            changes, state = update(gradient(step, [np.asarray(one) for one in params]), state, params)
            params = [one + change for one, change in zip(params, changes, strict=True)]
    np.testing.assert_allclose(flat(values), expected, rtol=1e-5, atol=1e-5)
    places = [id(variable) for variable in of_keras.variables]
    assert float(kept[places.index(id(of_keras._learning_rate))]) == pytest.approx(rate, rel=1e-5)
    if not named.get("amsgrad"):
        np.testing.assert_allclose(flat(params), expected, rtol=1e-5, atol=1e-5)
        assert float(state.distance) == pytest.approx(rate, rel=1e-5)
