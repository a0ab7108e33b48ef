"""`adamkit.convert`: a run goes on in another framework with the same next steps."""

import itertools

import jax.numpy as jnp
import keras
import ml_dtypes
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adamkit
import adamkit.optax
import adamkit.torch
from adamkit import rounding
from adamkit.keras import Adam

SHAPES = {"kernel": (64, 72), "bias": (72,), "out": (72, 1)}  # the first of 4,608 elements, which int8 takes
RATE, EPSILON = 0.01, 1e-7
pytestmark = [
    pytest.mark.optimized,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="PyTorch's own tensors are tested beside JAX's"),
]


def gradients(step, dtype="float32"):
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=shape).astype("float32").astype(np_dtype(dtype)) for name, shape in SHAPES.items()}


def np_dtype(dtype):
    return ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype


class InKeras:
    """Three parameters and their optimizer; it steps and tells its values."""

    def __init__(self, values, dtype, **options):
        self.variables = [keras.Variable(values[name], dtype=dtype, name=name) for name in SHAPES]
        self.optimizer = Adam(RATE, epsilon=EPSILON, **options)
        self.optimizer.build(self.variables)
        self.state = self.like = self.optimizer

    def load(self, converted):
        self.optimizer.load_own_variables(converted)

    def step(self, by_name):
        self.optimizer.apply([keras.ops.convert_to_tensor(by_name[name]) for name in SHAPES], self.variables)

    def values(self):
        return {name: np.asarray(variable.value) for name, variable in zip(SHAPES, self.variables, strict=True)}


class InTorch:
    def __init__(self, values, dtype, **options):
        self.parameters = {name: torch.nn.Parameter(tensor(values[name], dtype)) for name in SHAPES}
        self.optimizer = adamkit.torch.Adam(self.parameters.items(), lr=RATE, eps=EPSILON, **options)
        self.state = self.like = self.optimizer

    def load(self, converted):
        self.optimizer.load_state_dict(converted)

    def step(self, by_name):
        for name, parameter in self.parameters.items():
            parameter.grad = tensor(by_name[name], str(parameter.dtype).removeprefix("torch."))
        self.optimizer.step()

    def values(self):
        wide = {name: parameter.detach().float().numpy() for name, parameter in self.parameters.items()}
        dtype = str(self.parameters["bias"].dtype).removeprefix("torch.")
        return {name: value.astype(np_dtype(dtype)) for name, value in wide.items()}


class InOptax:
    def __init__(self, values, dtype, *, amsgrad=False, **options):
        self.tree = {name: jnp.asarray(values[name], dtype) for name in SHAPES}  # which JAX sorts: bias, kernel, out
        make = adamkit.optax.amsgrad if amsgrad else adamkit.optax.adam
        self.optimizer = optax.chain(optax.identity(), make(RATE, eps=EPSILON, **options))
        self.state = self.optimizer.init(self.tree)

    @property
    def like(self):
        return self.state

    def load(self, converted):
        self.state = converted

    def step(self, by_name):
        updates, self.state = self.optimizer.update({**by_name}, self.state, self.tree)
        self.tree = adamkit.optax.apply_updates(self.tree, updates, self.state)

    def values(self):
        return {name: np.asarray(self.tree[name]) for name in SHAPES}


FRAMEWORKS = {"keras": InKeras, "torch": InTorch, "optax": InOptax}


def tensor(array, dtype):
    return torch.from_numpy(np.array(array, "float32")).to(getattr(torch, dtype))


def run_of(framework, dtype="float32", steps=3, values=None, **options):
    values = gradients(100) if values is None else values
    run = FRAMEWORKS[framework](values, dtype, **options)
    for step in range(steps):
        run.step(gradients(step, dtype))
    return run


def moved(run, to, dtype="float32", **options):
    """Another run with the values of the first and its state."""
    target = run_of(to, dtype, 0, run.values(), **options)
    target.load(adamkit.convert(run.state, to=to, like=target.like))
    return target


NARROW = ("bfloat16", {"moment_dtype": "int8", "parameter_rounding": "compensated"})
FORMS = [  # no further ones: what is carried is numbers, or codes, or the value of a narrow parameter
    ("float32", {"moment_dtype": "float32"}),
    ("float32", {"moment_dtype": "bfloat16", "amsgrad": True}),
    NARROW,
]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "options"), FORMS, ids=str)
def test_the_state_goes_round_all_six_ways_to_the_same_bits(dtype, options):
    """Three frameworks one way round and back again: nothing is computed on the way, so nothing may change."""
    runs = {name: run_of(name, dtype, 3 if name == "keras" else 0, **options) for name in FRAMEWORKS}
    first = runs["keras"]
    run = first
    for to in ("torch", "optax", "keras", "optax", "torch", "keras"):
        run = moved(run, to, dtype, **options)
    for before, after in zip(first.optimizer.variables, run.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(before.value), np.asarray(after.value), err_msg=before.path)
    first.step(gradients(10, dtype))
    run.step(gradients(10, dtype))
    for name, value in first.values().items():  # the same kernel: the same bits
        np.testing.assert_array_equal(run.values()[name], value)


@pytest.mark.tried(
    "state carried to another framework in mid-run, all six ways",
    "the same next steps",
)
@pytest.mark.slow
@pytest.mark.parametrize(("source", "to"), list(itertools.permutations(FRAMEWORKS, 2)))
def test_the_next_steps_are_the_same(source, to):
    dtype, options = NARROW
    run = run_of(source, dtype, **options)
    other = moved(run, to, dtype, **options)
    for step in (10, 11):
        run.step(gradients(step, dtype))
        other.step(gradients(step, dtype))
    for name, value in run.values().items():
        # XLA may fuse a product and a sum, and int8 makes a step of the last bit: of few elements.
        assert (other.values()[name] != value).mean() < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize(("source", "to"), [("keras", "torch"), ("torch", "optax"), ("optax", "keras")])
def test_moments_change_their_format_on_the_way(source, to):
    run = run_of(source, moment_dtype="int8")
    wide, narrow = (moved(run, to, moment_dtype=moment_dtype) for moment_dtype in ("float32", "bfloat16"))
    for one in (run, wide, narrow):
        one.step(gradients(10))
    for name, value in run.values().items():
        np.testing.assert_allclose(wide.values()[name], value, rtol=3e-6, atol=1e-7)  # int8's numbers are float32's
        np.testing.assert_allclose(narrow.values()[name], value, atol=RATE / 100)


def test_names_give_the_order_and_the_axes():
    run = run_of("keras")
    linear = torch.nn.Linear(64, 72)
    out = torch.nn.Parameter(torch.zeros(72, 1))
    with torch.no_grad():
        linear.weight.copy_(tensor(run.values()["kernel"].T, "float32"))
        linear.bias.copy_(tensor(run.values()["bias"], "float32"))
    like = adamkit.torch.Adam([*linear.named_parameters(), ("out", out)], lr=RATE, eps=EPSILON)
    kernel, bias, last = (variable.path for variable in run.variables)
    names = {"weight": (kernel, (1, 0)), "bias": bias, "out": last}
    like.load_state_dict(adamkit.convert(run.optimizer, to="torch", like=like, names=names))
    step = gradients(10)
    run.step(step)
    linear.weight.grad, linear.bias.grad = torch.from_numpy(step["kernel"].T.copy()), torch.from_numpy(step["bias"])
    out.grad = torch.from_numpy(step["out"])
    like.step()
    np.testing.assert_allclose(linear.weight.detach().numpy().T, run.values()["kernel"], rtol=3e-6, atol=1e-7)
    np.testing.assert_allclose(linear.bias.detach().numpy(), run.values()["bias"], rtol=3e-6, atol=1e-7)


def test_other_libraries_optimizers_are_taken_over():
    values = gradients(100)
    parameters = [torch.nn.Parameter(tensor(values[name], "float32")) for name in SHAPES]
    theirs = torch.optim.Adam(parameters, lr=RATE, eps=EPSILON)
    for parameter, gradient in zip(parameters, gradients(0).values(), strict=True):
        parameter.grad = torch.from_numpy(gradient)
    theirs.step()
    ours = run_of("keras", steps=0)
    ours.load(adamkit.convert(theirs, to="keras", like=ours.optimizer))
    assert int(ours.optimizer.iterations) == 1
    variables = [keras.Variable(values[name]) for name in SHAPES]
    of_keras = keras.optimizers.AdamW(RATE)
    of_keras.apply([keras.ops.convert_to_tensor(one) for one in gradients(0).values()], variables)
    state = adamkit.convert(of_keras, to="optax", like=run_of("optax", steps=0).state)
    for name, place in (("kernel", 0), ("bias", 1)):
        expected = theirs.state[parameters[place]]["exp_avg"].numpy()
        np.testing.assert_allclose(np.asarray(state[1][0].mu[name]), expected, rtol=1e-6)


def test_a_learning_rate_that_counts_by_itself_goes_on_counting():
    tree = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
    like = adamkit.optax.adamw(optax.linear_schedule(1.0, 0.0, 10)).init(tree)
    counts = [part.count for part in adamkit.convert(run_of("keras").state, to="optax", like=like) if part]
    assert [int(count) for count in counts] == [3, 3]


def other_shapes():
    return adamkit.torch.Adam([("w", torch.nn.Parameter(torch.zeros(64, 71)))])


def doubled():
    like = torch.nn.ParameterDict({name: torch.zeros(SHAPES[name]) for name in ("bias", "kernel", "out")})
    like["second"] = torch.zeros(72)
    return adamkit.torch.Adam(like.named_parameters())


KEPT = {name: name for name in SHAPES}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"to": "jax"}, ValueError, "to must be one of 'keras', 'torch', 'optax'. Received: to='jax'"),
        ({"state": [1]}, TypeError, "state must be a keras.optimizers.Adam or Nadam"),
        ({"state": keras.optimizers.Adam()}, ValueError, "state must be built on its variables"),
        ({"like": 3}, TypeError, "like must be an adamkit.torch.Adam. Received: builtins.int"),
        ({"like": other_shapes}, ValueError, r"differ: there is no state for w \(64, 71\)"),
        ({"like": doubled}, ValueError, r"names must say which is which"),
        ({"names": {"kernel": "kernel"}}, ValueError, "lacks 'bias'"),
        ({"names": KEPT | {"bias": "biased"}}, ValueError, r"names\['bias'\] must be a parameter of the state"),
        ({"names": KEPT | {"bias": "kernel"}}, ValueError, "Received twice: 'kernel'"),
        ({"names": KEPT | {"kernel": ("kernel", (1, 0))}}, ValueError, r"must have the shape of kernel, \(72, 64\)"),
        (
            {"names": KEPT | {"kernel": ("kernel", (1, 1))}},
            ValueError,
            "axes of 'kernel' must be the numbers 0 to 1",
        ),
        ({"names": KEPT | {"other": "kernel"}}, ValueError, "Received: 'other'"),
        ({"names": [1]}, TypeError, "names must be a dict"),
        ({"like": lambda: run_of("torch", steps=0, amsgrad=True).like}, ValueError, "amsgrad must be the same"),
    ],
)
def test_what_does_not_fit_is_named(change, error, words):
    arguments = {"to": "torch", "like": lambda: run_of("torch", steps=0).like, "state": None, "names": None} | change
    run = run_of("keras", steps=0)
    state = run.state if arguments["state"] is None else arguments["state"]
    like = arguments["like"]() if callable(arguments["like"]) else arguments["like"]
    with pytest.raises(error, match=words):
        adamkit.convert(state, to=arguments["to"], like=like, names=arguments["names"])


def test_weights_that_were_not_moved_are_found_where_the_state_belongs_to_them():
    run = run_of("torch", "bfloat16")
    other = run_of("keras", "bfloat16", 0)
    with pytest.raises(ValueError, match="move the weights first"):
        adamkit.convert(run.state, to="keras", like=other.like)


@pytest.mark.parametrize(("source", "to"), list(itertools.permutations(FRAMEWORKS, 2)))
def test_an_average_stays_where_it_is(source, to):
    averaging, plain = (run_of(name, steps=0, schedule_free=name == source) for name in (source, to))
    for state, like, argument in ((averaging.state, plain.like, "state"), (plain.state, averaging.like, "like")):
        with pytest.raises(ValueError, match=f"{argument} must be of schedule_free=False"):
            adamkit.convert(state, to=to if argument == "state" else source, like=like)


def test_parameters_that_have_taken_different_numbers_of_steps_have_no_common_one():
    run = run_of("torch")
    run.parameters["bias"].grad = None
    run.parameters["kernel"].grad = torch.zeros(SHAPES["kernel"])
    run.parameters["out"].grad = None
    run.optimizer.step()
    with pytest.raises(ValueError, match="Received: 3 of bias, 4 of another"):
        adamkit.convert(run.state, to="keras", like=run_of("keras", steps=0).like)


@settings(max_examples=50)
@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
    dtype=st.sampled_from(["bfloat16", "float16"]),
)
def test_a_remainder_made_afterwards_gives_the_number_again(bits, dtype):
    value = np.array(bits, np.uint32).view(np.float32)
    value = value[np.isfinite(value) & (np.abs(value) < 6e4) & ((np.abs(value) > 1e-4) | (dtype == "bfloat16"))]
    parameter, _ = rounding.store(value, dtype, "compensated", None, np)
    remainder = rounding.remainder_of(value, parameter, "compensated")
    np.testing.assert_array_equal(rounding.restore(parameter, remainder, np), value)
    coarse = rounding.restore(parameter, rounding.remainder_of(value, parameter, "compensated8"), np)
    np.testing.assert_allclose(coarse, value, rtol=2**-15 if dtype == "bfloat16" else 2**-18, atol=1e-40)
