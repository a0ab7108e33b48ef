"""Moments of every format and parameters of every rounding: what is stored, how it trains, how it is saved."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit import moments, rounding
from adamkit.torch import Adam

NARROW = [torch.bfloat16, torch.float16]
BIG = 3 * moments.MIN_SIZE // 2 + 1  # elements: not small, and no multiple of a block


def parameters(seed, sizes=(BIG, 5), dtype=torch.float32, make=lambda x: x):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(make(torch.randn(size, generator=generator).to(dtype))) for size in sizes]


def train(optimizer, steps, seed=0, scale=1.0):
    xs = [x for group in optimizer.param_groups for x in group["params"]]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for x in xs:
            x.grad = (scale * torch.randn(x.shape, generator=generator)).to(x.dtype)
        optimizer.step()
    return xs


def assert_same_state(ours, theirs):
    """Two optimizers hold the same bits."""
    mine, other = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert mine.keys() == other.keys()
    for key, state in mine.items():
        assert state.keys() == other[key].keys()
        for name, value in state.items():
            assert value.dtype == other[key][name].dtype
            assert torch.equal(value, other[key][name]), name


def strided(x):
    return torch.stack([x, x], -1)[..., 0]


# Not all combinations: a kernel takes a second to compile.
FORMS = [
    (torch.float32, "bfloat16", "nearest", False),
    (torch.float32, "int8", "nearest", False),
    (torch.float32, "int8", "nearest", True),
    (torch.bfloat16, "float32", "compensated", False),
    (torch.bfloat16, "int8", "compensated", False),
    (torch.bfloat16, "float32", "compensated8", False),
    (torch.bfloat16, "bfloat16", "stochastic", True),
    (torch.float16, "float32", "compensated", False),
    (torch.float16, "float32", "stochastic", False),
    (torch.float16, "float32", "nearest", False),
]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), form=st.sampled_from(FORMS))
def test_the_path_by_operations_has_the_bits_of_the_kernel(seed, form):
    dtype, moment_dtype, way, amsgrad = form
    options = {"moment_dtype": moment_dtype, "parameter_rounding": way, "amsgrad": amsgrad, "rounding_seed": seed}
    one = Adam(parameters(seed, dtype=dtype), **options)
    other = Adam(parameters(seed, dtype=dtype, make=strided), **options)
    for x, y in zip(train(one, 3, seed), train(other, 3, seed), strict=True):
        assert torch.equal(x, y)
    assert_same_state(one, other)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    form=st.sampled_from([(torch.bfloat16, "float32"), (torch.bfloat16, "int8"), (torch.float16, "float32")]),
    lr=st.sampled_from([1e-2, 1e-4, 1e-6]),
    make=st.sampled_from([strided, lambda x: x]),
)
def test_compensated_is_float32_training_of_the_rounded_gradients_to_the_bit(seed, form, lr, make):
    dtype, moment_dtype = form
    narrow = parameters(seed, dtype=dtype, make=make)
    wide = [torch.nn.Parameter(x.detach().float()) for x in narrow]
    ours, exact = Adam(narrow, lr=lr, moment_dtype=moment_dtype), Adam(wide, lr=lr, moment_dtype=moment_dtype)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        for x, y in zip(narrow, wide, strict=True):
            x.grad = torch.randn(x.shape, generator=generator).to(dtype)
            y.grad = x.grad.float()
        ours.step()
        exact.step()
    for x, y in zip(narrow, wide, strict=True):
        assert torch.equal(rounding.restore(x.detach(), ours.state[x]["remainder"], torch), y.detach())


@pytest.mark.parametrize("way", ["compensated", "compensated8", "stochastic"])
def test_a_bfloat16_parameter_moves_by_steps_that_are_small_next_to_it(way):
    (x,) = parameters(0, [1000], torch.bfloat16, torch.ones_like)
    (stuck,) = parameters(0, [1000], torch.bfloat16, torch.ones_like)
    ours, theirs = Adam([x], lr=1e-4, parameter_rounding=way), torch.optim.Adam([stuck], lr=1e-4)
    for _ in range(100):
        x.grad, stuck.grad = torch.ones_like(x), torch.ones_like(x)
        ours.step()
        theirs.step()
    assert abs(x.detach().float().mean().item() - 0.99) < 2e-3  # neighbours of 0.99 are 0.004 apart
    assert torch.equal(stuck.detach(), torch.ones_like(x))


@pytest.mark.parametrize(("moment_dtype", "most"), [("float32", 8.0), ("bfloat16", 4.0), ("int8", 2.1)])
def test_the_state_has_as_many_bytes_a_parameter_as_promised(moment_dtype, most):
    (x,) = parameters(0, [2**20])
    optimizer = Adam([x], moment_dtype=moment_dtype)
    train(optimizer, 1)
    held = sum(value.nbytes for name, value in optimizer.state[x].items() if name != "step")
    assert held <= most * x.numel()


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_small_tensors_keep_float32_under_int8_only(moment_dtype):
    optimizer = Adam(parameters(0), moment_dtype=moment_dtype)
    big, small = train(optimizer, 1)
    stored = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.uint8}[moment_dtype]
    assert optimizer.state[big]["exp_avg"].dtype == stored
    assert optimizer.state[small]["exp_avg"].dtype == (torch.float32 if moment_dtype == "int8" else stored)
    assert optimizer.state[big]["exp_avg"].shape == big.shape


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_every_format_trains_as_float32_does(moment_dtype):
    target = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    losses = {}
    for storage in ("float32", moment_dtype):
        x = torch.nn.Parameter(torch.zeros(64, 128))
        optimizer = Adam([x], lr=0.01, moment_dtype=storage)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (x - target).square().mean()
            loss.backward()
            optimizer.step()
        losses[storage] = loss.item()
    assert losses[moment_dtype] < 1.1 * losses["float32"] + 1e-4


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_nan_in_a_gradient_stays_within_its_block(moment_dtype):
    (x,) = parameters(0, [BIG])
    (clean,) = parameters(0, [BIG])
    ours, theirs = Adam([x], moment_dtype=moment_dtype), Adam([clean], moment_dtype=moment_dtype)
    for step in range(3):
        for y in (x, clean):
            y.grad = torch.ones_like(y)
        if step == 0:
            x.grad[5] = torch.nan
            x.grad[moments.BLOCK + 7] = torch.inf
        ours.step()
        theirs.step()
    assert x[5].isnan()
    assert x[moments.BLOCK + 7].isnan()
    assert torch.equal(x[2 * moments.BLOCK :], clean[2 * moments.BLOCK :])
    if moment_dtype != "int8":
        assert x.isnan().sum() == 2


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_the_result_does_not_depend_on_the_number_of_threads(moment_dtype):
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            optimizer = Adam(
                parameters(0, [100_003, 7, 30_000], torch.bfloat16),
                moment_dtype=moment_dtype,
                parameter_rounding="stochastic",
            )
            results.append(train(optimizer, 3))
    finally:
        torch.set_num_threads(before)
    for xs in results[1:]:
        assert all(map(torch.equal, xs, results[0]))


@pytest.mark.parametrize("way", ["stochastic", "compensated8"])
def test_random_bits_come_from_the_seed_alone(way):
    def trained(seed):
        return train(Adam(parameters(0, dtype=torch.bfloat16), parameter_rounding=way, rounding_seed=seed), 3)

    assert all(map(torch.equal, trained(1), trained(1)))
    assert not all(map(torch.equal, trained(1), trained(2)))


@pytest.mark.tried(
    "`torch.save` and `torch.load(weights_only=True)`, in every format",
    "the same bits after further steps",
)
@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(form=st.sampled_from(FORMS))
def test_a_saved_run_continues_to_the_bit(form):
    dtype, moment_dtype, way, amsgrad = form
    options = {"moment_dtype": moment_dtype, "parameter_rounding": way, "amsgrad": amsgrad}
    optimizer = Adam(parameters(0, dtype=dtype), **options)
    xs = train(optimizer, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    ys = [torch.nn.Parameter(x.detach().clone()) for x in xs]
    other = Adam(ys, lr=0.5, **options)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same_state(optimizer, other)
    train(optimizer, 2, seed=1)
    train(other, 2, seed=1)
    assert all(map(torch.equal, xs, ys))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_copies_continue_on_their_own(way, moment_dtype):
    optimizer = Adam(parameters(0, dtype=torch.bfloat16), moment_dtype=moment_dtype)
    xs = train(optimizer, 2)
    other = way(optimizer)
    before = [x.detach().clone() for x in xs]
    ys = train(other, 2)
    assert all(map(torch.equal, xs, before))
    train(optimizer, 2)
    assert all(map(torch.equal, xs, ys))


def wide_moments(optimizer, x):
    state = optimizer.state[x]
    decode = {"exp_avg": moments.decode_first, "exp_avg_sq": moments.decode_second}
    return {
        name: decode[name](state[name], state[f"{name}_scale"], torch)
        if f"{name}_scale" in state
        else state[name].float()
        for name in decode
    }


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(moments.FORMATS, 2)])
def test_loading_converts_between_formats(old, new):
    source = Adam(parameters(0), moment_dtype=old)
    target = Adam(train(source, 5), lr=0.5, moment_dtype=new)
    target.load_state_dict(source.state_dict())
    group = target.param_groups[0]
    assert (group["moment_dtype"], group["lr"]) == (new, 1e-3)
    fresh = Adam(group["params"], moment_dtype=new)
    train(fresh, 1)
    for x in group["params"]:
        assert {name: y.dtype for name, y in target.state[x].items()} == {
            name: y.dtype for name, y in fresh.state[x].items()
        }
        before, after = wide_moments(source, x), wide_moments(target, x)
        for name, value in before.items():
            coarse = 1 / 3 if "int8" in (old, new) else 1 / 128
            near = (after[name] - value).abs() <= coarse * value.abs() + 1e-3 * value.abs().max()
            assert near.all()
    train(target, 2)


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_a_checkpoint_of_pytorch_can_be_continued_and_given_back(moment_dtype):
    theirs = torch.optim.Adam(parameters(0), lr=0.01)
    xs = train(theirs, 4)
    ours = Adam(xs, moment_dtype=moment_dtype)
    ours.load_state_dict(theirs.state_dict())
    train(ours, 2)
    wide = Adam(xs)
    wide.load_state_dict(ours.state_dict())
    back = torch.optim.Adam(xs)
    back.load_state_dict(wide.state_dict())
    for x in xs:
        assert back.state[x]["exp_avg"].dtype == torch.float32
        for name, value in wide_moments(ours, x).items():
            assert torch.equal(back.state[x][name], value)
    train(back, 2)


def test_a_remainder_of_another_rounding_is_forgotten():
    source = Adam(parameters(0, dtype=torch.bfloat16))
    xs = train(source, 2)
    target = Adam(xs, parameter_rounding="compensated8")
    target.load_state_dict(source.state_dict())
    assert all(not target.state[x]["remainder"].any() for x in xs)
    assert all(target.state[x]["remainder"].dtype == torch.int8 for x in xs)
    train(target, 1)


def test_the_format_can_be_changed_in_the_middle_of_a_run():
    optimizer = Adam(parameters(0))
    (x, _) = train(optimizer, 3)
    before = optimizer.state[x]["exp_avg"].clone()
    optimizer.param_groups[0]["moment_dtype"] = "int8"
    for y in (x,):
        y.grad = torch.zeros_like(y)
    optimizer.step()
    near = (wide_moments(optimizer, x)["exp_avg"] - 0.9 * before).abs() <= before.abs() / 3 + 1e-3 * before.abs().max()
    assert near.all()
    optimizer.param_groups[0]["moment_dtype"] = "float32"
    optimizer.step()
    assert set(optimizer.state[x]) == {"step", "exp_avg", "exp_avg_sq"}


def test_groups_have_their_own_formats():
    x, y, z = parameters(0, [BIG] * 3)
    optimizer = Adam([{"params": [x], "moment_dtype": "int8"}, {"params": [y], "moment_dtype": "bfloat16"}])
    optimizer.add_param_group({"params": [z]})
    train(optimizer, 1)
    assert [optimizer.state[p]["exp_avg"].dtype for p in (x, y, z)] == [torch.uint8, torch.bfloat16, torch.float32]


def test_a_parameter_set_from_outside_counts():
    for dtype, way in itertools.product(NARROW, ("compensated", "compensated8")):
        (x,) = parameters(0, [100], dtype)
        optimizer = Adam([x], lr=0.0, parameter_rounding=way)
        train(optimizer, 1)
        with torch.no_grad():
            x.fill_(3.0)
        train(optimizer, 1)
        assert torch.equal(x.detach(), torch.full_like(x, 3.0))


def test_float64_parameters_take_bfloat16_moments():
    optimizer = Adam(parameters(0, dtype=torch.float64), moment_dtype="bfloat16")
    other = Adam(parameters(0, dtype=torch.float64))
    for x, y in zip(train(optimizer, 5), train(other, 5), strict=True):
        assert optimizer.state[x]["exp_avg"].dtype == torch.bfloat16
        torch.testing.assert_close(x.detach(), y.detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("moment_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", rounding.ROUNDINGS)
def test_lazy_steps_of_a_narrow_embedding(moment_dtype, way):
    layer = torch.nn.Embedding(6, 3, sparse=True, dtype=torch.bfloat16)
    optimizer = Adam(layer.parameters(), lr=0.1, lazy=True, moment_dtype=moment_dtype, parameter_rounding=way)
    before = layer.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.tensor([1, 4, 1])).sum().backward()
        optimizer.step()
    rows = [1, 4]
    torch.testing.assert_close(layer.weight[rows].detach(), before[rows] - 0.2, atol=0.02, rtol=0)
    untouched = [0, 2, 3, 5]
    assert torch.equal(layer.weight[untouched], before[untouched])


@pytest.mark.parametrize(
    ("dtype", "options", "words"),
    [
        (torch.float64, {"moment_dtype": "int8"}, r"32 bits or less.*Received: params\[0\].*torch.float64"),
        (torch.complex64, {"moment_dtype": "int8"}, r"real parameters.*Received: params\[0\].*complex64"),
        (torch.complex128, {"moment_dtype": "bfloat16"}, "real parameters"),
        (torch.float32, {"moment_dtype": "int8", "lazy": True}, "lazy=True"),
        (torch.float32, {"moment_dtype": "int8", "differentiable": True}, "differentiable=True"),
        (torch.float32, {"moment_dtype": "bfloat16", "differentiable": True}, "differentiable=True"),
    ],
)
def test_what_cannot_be_stored_is_refused(dtype, options, words):
    x = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    with pytest.raises(ValueError, match=words):
        Adam([x], **options)
    optimizer = Adam([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match=words):
        optimizer.add_param_group({"params": [x], **options})
    assert len(optimizer.param_groups) == 1


def damaged(path, value):
    def apply(state):
        if value is KeyError:
            del state[path]
        else:
            state[path] = value(state[path]) if callable(value) else value

    return apply


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (damaged("exp_avg_scale", KeyError), TypeError, "exp_avg_scale.*NoneType"),
        (damaged("exp_avg_scale", lambda x: x[:-1]), ValueError, "exp_avg_scale.*shape"),
        (damaged("exp_avg_scale", lambda x: x.float()), TypeError, "exp_avg_scale.*uint8"),
        (damaged("exp_avg_sq", lambda x: x[:-1]), ValueError, "exp_avg_sq.*shape"),
        (damaged("exp_avg_sq", lambda x: x.to(torch.int16)), (TypeError, ValueError), "exp_avg_sq"),
        (damaged("exp_avg_sq", lambda x: x.float()), ValueError, "exp_avg_sq_scale.*uint8"),
        (damaged("exp_avg", [1, 2]), TypeError, "exp_avg"),
        (damaged("remainder", 3), TypeError, "remainder"),
        (damaged("remainder", lambda x: x[:-1]), ValueError, "remainder.*shape"),
        (damaged("remainder", lambda x: x.double()), TypeError, "remainder.*float64"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_nothing_changes(damage, error, words):
    optimizer = Adam(parameters(0, dtype=torch.bfloat16), moment_dtype="int8")
    train(optimizer, 1)
    checkpoint = copy.deepcopy(optimizer.state_dict())
    damage(checkpoint["state"][0])
    before = copy.deepcopy(optimizer)
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(checkpoint)
    assert_same_state(optimizer, before)


def test_a_checkpoint_in_an_unknown_format_is_refused():
    optimizer = Adam(parameters(0))
    train(optimizer, 1)
    for option in ("moment_dtype", "parameter_rounding"):
        checkpoint = optimizer.state_dict()
        checkpoint["param_groups"][0][option] = "int3"
        with pytest.raises(ValueError, match=f"{option} must be one of .*'int3'.*parameter group 0"):
            optimizer.load_state_dict(checkpoint)


@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
def test_empty_and_one_element_tensors(moment_dtype):
    for dtype in (torch.float32, torch.bfloat16):
        xs = parameters(0, [0, 1], dtype)
        optimizer = Adam(xs, moment_dtype=moment_dtype)
        train(optimizer, 2)
        assert all(torch.isfinite(x).all() for x in xs)
