"""`adamkit.torch.Adam` against the oracle and against `torch.optim.Adam`."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.torch import Adam, exchange, one_pass
from tests import reference

pytestmark = pytest.mark.slow  # seconds, all in all

LAYOUTS = {
    "contiguous": lambda x: x.clone(),
    "transposed": lambda x: x.t().contiguous().t(),
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "channels_last": lambda x: x[None, None].expand(2, 3, -1, -1).contiguous(memory_format=torch.channels_last),
}

options = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([1e-3, 0.1, 0.0]),
        "betas": st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.3, 0.2), (0.95, 0.9999)]),
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "decoupled_weight_decay": st.booleans(),
        "amsgrad": st.booleans(),
        "maximize": st.booleans(),
    }
)


def parameters(seed, shapes, dtype=torch.float32, layout="contiguous"):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(LAYOUTS[layout](torch.randn(shape, generator=generator, dtype=dtype))) for shape in shapes
    ]


def twins(originals):
    return [torch.nn.Parameter(x.detach().clone(memory_format=torch.preserve_format)) for x in originals]


def set_gradients(seed, *lists, share=1.0):
    """The same random gradient for each parameter of every list; some have none."""
    generator = torch.Generator().manual_seed(seed)
    for same in zip(*lists, strict=True):
        gradient = torch.randn(same[0].shape, generator=generator, dtype=same[0].dtype)
        present = torch.rand((), generator=generator).item() < share
        for x in same:
            x.grad = gradient.to(x.dtype, copy=True) if present else None


def assert_close(ours, theirs, dtype=torch.float32):
    tolerance = 1e-12 if dtype in (torch.float64, torch.complex128) else 3e-5
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.data, y.data, rtol=tolerance, atol=tolerance)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=4),
    layout=st.sampled_from(list(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    steps=st.integers(1, 6),
    options=options,
)
def test_follows_the_oracle(seed, shapes, layout, dtype, steps, options):
    ours = parameters(seed, shapes, dtype, layout)
    names = {
        "learning_rate": options["lr"],
        "beta_1": options["betas"][0],
        "beta_2": options["betas"][1],
        "epsilon": options["eps"],
        "decoupled": options["decoupled_weight_decay"],
        **{name: options[name] for name in ("weight_decay", "amsgrad", "maximize")},
    }
    states = [reference.start(x.detach().numpy()) for x in ours]
    optimizer = Adam(ours, **options)
    for step in range(steps):
        set_gradients(seed + step, ours)
        states = [reference.step(state, x.grad.numpy(), **names) for state, x in zip(states, ours, strict=True)]
        optimizer.step()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for x, state in zip(ours, states, strict=True):
        # where β₂ is small, v can come close to 0 and the step is ill conditioned: allow for it in units of η
        np.testing.assert_allclose(x.detach().numpy(), state.theta, rtol=tolerance, atol=tolerance * 20)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=5),
    layout=st.sampled_from(list(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.complex64, torch.complex128]),
    share=st.sampled_from([1.0, 0.6]),
    options=options,
)
def test_agrees_with_pytorch(seed, shapes, layout, dtype, share, options):
    ours = parameters(seed, shapes, dtype, layout)
    theirs = twins(ours)
    mine, peer = Adam(ours, **options), torch.optim.Adam(theirs, **options)
    for step in range(5):
        set_gradients(seed + step, ours, theirs, share=share)
        mine.step()
        peer.step()
    assert_close(ours, theirs, dtype)
    for x, y in zip(ours, theirs, strict=True):
        assert set(mine.state[x]) == set(peer.state[y])
        for key, value in peer.state[y].items():
            torch.testing.assert_close(mine.state[x][key], value, rtol=1e-4, atol=1e-6)
            assert mine.state[x][key].dtype == value.dtype


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), switch=st.integers(0, 8), options=options, back=st.booleans())
def test_a_run_can_change_hands_at_any_step(seed, switch, options, back):
    shapes = [(3, 4), (5,), ()]
    ours = parameters(seed, shapes)
    theirs = twins(ours)
    stay, run = torch.optim.Adam(theirs, **options), (torch.optim.Adam if back else Adam)(ours, **options)
    for step in range(8):
        if step == switch:
            other = (Adam if back else torch.optim.Adam)(ours)
            other.load_state_dict(run.state_dict())
            run = other
        set_gradients(seed + step, ours, theirs)
        run.step()
        stay.step()
    assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_parameters_move_and_keep_float32_moments(dtype):
    x = torch.nn.Parameter(torch.ones(100, dtype=dtype))
    optimizer = Adam([x], lr=0.01)
    for _ in range(10):
        x.grad = torch.full_like(x, 1e-3)
        optimizer.step()
    assert optimizer.state[x]["exp_avg_sq"].dtype == torch.float32
    # each step is 0.01 before its rounding to the parameter's 8 or 11 bits
    torch.testing.assert_close(x.data.float(), torch.full((100,), 0.9), atol=0.025, rtol=0)


def test_a_step_of_several_low_precision_tensors_is_the_step_of_each():
    together = parameters(0, [(3, 4), (7,)], torch.bfloat16)
    alone = twins(together)
    one, many = (
        Adam(together, weight_decay=0.1, amsgrad=True, maximize=True),
        [Adam([x], weight_decay=0.1, amsgrad=True, maximize=True) for x in alone],
    )
    for step in range(4):
        set_gradients(step, together, alone)
        one.step()
        for optimizer in many:
            optimizer.step()
    for x, y in zip(together, alone, strict=True):
        assert torch.equal(x, y)


def test_the_path_by_operations_has_the_bits_of_the_kernel():
    contiguous = parameters(0, [(6, 4), (5, 3)])
    others = [torch.nn.Parameter(LAYOUTS["transposed"](x.detach())) for x in contiguous]
    first, second = Adam(contiguous, weight_decay=0.1), Adam(others, weight_decay=0.1)
    for step in range(4):
        set_gradients(step, contiguous, others)
        first.step()
        second.step()
    for x, y in zip(contiguous, others, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_result_does_not_depend_on_the_number_of_threads(threads):
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            xs = parameters(0, [(300, 400), (7,)])
            optimizer = Adam(xs)
            for step in range(3):
                set_gradients(step, xs)
                optimizer.step()
            results.append(xs)
    finally:
        torch.set_num_threads(before)
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)


def test_parameters_at_different_steps_have_their_own_bias_correction():
    ours = parameters(0, [(4,), (4,)])
    theirs = twins(ours)
    mine, peer = Adam(ours), torch.optim.Adam(theirs)
    for step in range(6):
        set_gradients(step, ours, theirs)
        if step < 3:
            ours[1].grad = theirs[1].grad = None
        mine.step()
        peer.step()
    assert mine.state[ours[1]]["step"] == 3
    assert_close(ours, theirs)


def test_groups_have_their_own_options():
    ours = parameters(0, [(4,), (3, 3), (5,)])
    theirs = twins(ours)

    def groups(x):
        return [{"params": [x[0]], "lr": 0.1, "name": "fast"}, {"params": [x[1]], "amsgrad": True, "betas": (0.5, 0.6)}]

    mine, peer = Adam(groups(ours), lr=0.01), torch.optim.Adam(groups(theirs), lr=0.01)
    mine.add_param_group({"params": ours[2], "weight_decay": 0.1, "decoupled_weight_decay": True})
    peer.add_param_group({"params": theirs[2], "weight_decay": 0.1, "decoupled_weight_decay": True})
    for step in range(5):
        set_gradients(step, ours, theirs)
        mine.step()
        peer.step()
    assert_close(ours, theirs)
    assert mine.param_groups[0]["name"] == "fast"


def test_the_learning_rate_can_be_a_tensor_that_a_scheduler_changes():
    ours = parameters(0, [(4,)])
    theirs = twins(ours)
    mine, peer = Adam(ours, lr=torch.tensor(0.1)), torch.optim.Adam(theirs, lr=0.1)
    schedules = [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) for optimizer in (mine, peer)]
    for step in range(6):
        set_gradients(step, ours, theirs)
        for optimizer, schedule in zip((mine, peer), schedules, strict=True):
            optimizer.step()
            schedule.step()
    assert isinstance(mine.param_groups[0]["lr"], torch.Tensor)
    assert_close(ours, theirs)


def test_a_schedule_of_beta_1_is_followed():
    ours = parameters(0, [(4,)])
    theirs = twins(ours)
    mine, peer = Adam(ours), torch.optim.Adam(theirs)
    schedules = [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8) for optimizer in (mine, peer)]
    for step in range(8):
        set_gradients(step, ours, theirs)
        for optimizer in (mine, peer):
            optimizer.step()
        if step < 7:
            for schedule in schedules:
                schedule.step()
    assert_close(ours, theirs)


def test_amsgrad_can_be_switched_on_in_the_middle_of_a_run():
    ours = parameters(0, [(4,)])
    optimizer = Adam(ours)
    set_gradients(0, ours)
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    state = optimizer.state[ours[0]]
    assert torch.equal(state["max_exp_avg_sq"], state["exp_avg_sq"])


def test_replacing_the_data_of_a_parameter_is_noticed():
    ours = parameters(0, [(6, 6)])
    theirs = twins(ours)
    mine, peer = Adam(ours), torch.optim.Adam(theirs)
    changes = [lambda x: x, lambda x: x.clone(), lambda x: x.t(), lambda x: x.contiguous(), lambda x: x * 2]
    for step, change in enumerate(changes):
        for x in (*ours, *theirs):
            x.data = change(x.data)
        set_gradients(step, ours, theirs)
        mine.step()
        peer.step()
    assert_close(ours, theirs)


def test_a_closure_gives_the_loss_and_may_be_called_with_gradients_off():
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([x], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (x**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 3
    assert optimizer.step(closure).item() < 3


def test_autograd_notices_that_a_parameter_has_changed():
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([x])
    loss = (x**2).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_zero_grad_and_frozen_parameters():
    x, frozen = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3), requires_grad=False)
    optimizer = Adam([x, frozen])
    x.grad = torch.ones(3)
    optimizer.step()
    optimizer.zero_grad()
    assert x.grad is None
    before = x.clone()
    optimizer.step()
    assert torch.equal(x, before)
    assert torch.equal(frozen, torch.ones(3))
    assert frozen not in optimizer.state


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_continue_on_their_own(way):
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([x], lr=0.1, amsgrad=True)
    x.grad = torch.ones(3)
    optimizer.step()
    other = way(optimizer)
    (y,) = other.param_groups[0]["params"]
    y.grad = torch.ones(3)
    other.step()
    assert torch.equal(x.data, torch.full((3,), 0.9))
    optimizer.step()
    assert torch.equal(x, y)


def test_an_optimizer_is_pickled_by_its_public_name():
    optimizer = Adam([torch.nn.Parameter(torch.ones(3))])
    assert b"adamkit.torch\nAdam" in pickle.dumps(optimizer, protocol=2)


def test_hooks_run_around_a_step():
    x = torch.nn.Parameter(torch.ones(3))
    x.grad = torch.ones(3)
    optimizer, seen = Adam([x]), []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step()
    assert seen == ["before", "after"]


def test_differentiable_steps_have_pytorchs_gradients_of_tensor_hyperparameters():
    found = []
    for make in (Adam, torch.optim.Adam):
        lr, beta_1, beta_2 = (torch.tensor(x, requires_grad=True) for x in (0.1, 0.9, 0.99))
        leaf = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
        parameters = [leaf.clone(), 2 * leaf]
        options = {"lr": lr, "betas": (beta_1, beta_2), "differentiable": True}
        optimizer = make(parameters, **options, foreach=False)
        for step in range(3):
            for parameter in parameters:
                parameter.grad = torch.tensor([1.0, -0.3, 0.2]) * (step + 1)
            optimizer.step()
        sum((parameter**2).sum() for parameter in parameters).backward()
        found.append([x.grad for x in (lr, beta_1, beta_2, leaf)])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_differentiable_steps_carry_the_gradient_of_the_learning_rate():
    start = torch.ones(3, dtype=torch.float64)
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = start.clone().requires_grad_().clone()
    optimizer = Adam([x], lr=0.1, differentiable=True)
    x.grad = weight * start
    optimizer.step()
    x.grad = weight**2 * start
    optimizer.step()
    (derivative,) = torch.autograd.grad(x.sum(), weight)
    assert torch.isfinite(derivative)
    assert derivative != 0


class TestSparse:
    def embedding(self, **options):
        layer = torch.nn.Embedding(6, 3, sparse=True)
        return layer, Adam(layer.parameters(), lr=0.1, **options)

    def test_is_refused_as_in_pytorch_and_nothing_changes(self):
        layer, _ = self.embedding()
        other = torch.nn.Parameter(torch.ones(3))
        optimizer = Adam([other, *layer.parameters()])
        other.grad = torch.ones(3)
        layer(torch.tensor([1])).sum().backward()
        with pytest.raises(RuntimeError, match=r"does not support sparse gradients.*params\[1\]"):
            optimizer.step()
        assert torch.equal(other.data, torch.ones(3))
        assert not optimizer.state

    def test_lazy_steps_only_the_rows_that_it_has(self):
        layer, optimizer = self.embedding(lazy=True)
        dense = torch.nn.Parameter(layer.weight.detach().clone())
        peer = Adam([dense], lr=0.1)
        for rows in ([1, 4, 1], [4]):
            optimizer.zero_grad()
            peer.zero_grad()
            index = torch.tensor(rows)
            layer(index).square().sum().backward()
            dense[index].square().sum().backward()
            before = layer.weight.detach().clone()
            optimizer.step()
            peer.step()
            torch.testing.assert_close(layer.weight[4], dense[4])
            untouched = [row for row in range(6) if row not in rows]
            assert torch.equal(layer.weight[untouched], before[untouched])

    @pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"betas": (0.0, 0.99)}], ids=str)
    def test_exact_moments_are_those_of_dense_adam(self, options):
        layer, optimizer = self.embedding(lazy="exact", **options)
        dense = torch.nn.Parameter(layer.weight.detach().clone())
        peer = Adam([dense], lr=0.1, **options)
        state = optimizer.state[layer.weight]
        missed = {}
        for t, rows in enumerate([[1, 4, 1], [4], [2], None, [1, 4], [0]]):  # None: a gradient of all rows
            values = torch.randn(6 if rows is None else len(rows), 3, generator=torch.Generator().manual_seed(t))
            index = torch.arange(6) if rows is None else torch.tensor(rows)
            dense.grad = torch.zeros(6, 3).index_add(0, index, values)
            sparse = torch.sparse_coo_tensor(index[None], values, (6, 3), check_invariants=True)
            layer.weight.grad = dense.grad.clone() if rows is None else sparse
            before = layer.weight.detach().clone()
            optimizer.step()
            peer.step()
            rows = list(range(6)) if rows is None else rows
            for name in ("exp_avg", "exp_avg_sq"):
                torch.testing.assert_close(state[name][rows], peer.state[dense][name][rows], rtol=2e-6, atol=0)
            others = [row for row in range(6) if row not in rows]
            assert torch.equal(layer.weight[others], before[others])
            missed |= dict.fromkeys(rows, t + 1)
        assert state["last_step"].tolist() == [missed[row] for row in range(6)]
        carried = exchange.carried(optimizer).parameters[0]
        torch.testing.assert_close(
            torch.from_numpy(carried.moments["second"].values), peer.state[dense]["exp_avg_sq"], rtol=2e-6, atol=0
        )
        copy, other = self.embedding(lazy=True)  # its options become those of the checkpoint
        other.load_state_dict(optimizer.state_dict())
        copy.weight.data.copy_(layer.weight.data)
        for each, own in ((layer, optimizer), (copy, other)):
            each.weight.grad = torch.sparse_coo_tensor([[3]], [[1.0, 2.0, 3.0]], (6, 3), check_invariants=True)
            own.step()
        assert torch.equal(layer.weight, copy.weight)
        for name, value in state.items():
            assert torch.equal(value, other.state[copy.weight][name])

    @pytest.mark.parametrize(
        ("form", "dtype"),
        [
            ({}, torch.float32),
            ({"amsgrad": True, "moment_dtype": "bfloat16"}, torch.bfloat16),
            ({"nesterov": True}, torch.float32),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("lazy", [True, "exact"])
    def test_rows_by_the_kernel_and_by_operations_have_the_same_bits(self, lazy, form, dtype, monkeypatch):
        results, launches = [], []
        step_rows = one_pass.cpu.step_rows
        monkeypatch.setattr(one_pass.cpu, "step_rows", lambda *a, **b: launches.append(1) or step_rows(*a, **b))
        for by_kernel in (True, False):
            if not by_kernel:
                monkeypatch.setattr(one_pass.cpu, "applies_to_rows", lambda *_: False)
            weight = torch.nn.Parameter(torch.ones(6, 5, dtype=dtype))
            optimizer = Adam([weight], lr=0.1, lazy=lazy, **form)
            for t, rows in enumerate([[1, 4, 1], [4, 0], [1]]):
                values = torch.randn(len(rows), 5, generator=torch.Generator().manual_seed(t)).to(dtype)
                weight.grad = torch.sparse_coo_tensor([rows], values, (6, 5), check_invariants=True)
                optimizer.step()
            results.append([weight.detach(), *optimizer.state[weight].values()])
            assert bool(launches) == by_kernel
            launches.clear()
        for one, two in zip(*results, strict=True):
            assert torch.equal(one, two)

    def test_exact_needs_gradients_that_are_0_where_rows_are_missing(self):
        with pytest.raises(ValueError, match="lazy='exact' needs decoupled_weight_decay=True"):
            self.embedding(lazy="exact", weight_decay=0.1)
        self.embedding(lazy="exact", weight_decay=0.1, decoupled_weight_decay=True)

    def test_lazy_with_no_rows_changes_nothing(self):
        layer, optimizer = self.embedding(lazy=True)
        before = layer.weight.detach().clone()
        none = torch.empty(1, 0, dtype=torch.long), torch.empty(0, 3)
        layer.weight.grad = torch.sparse_coo_tensor(*none, (6, 3), check_invariants=True)
        optimizer.step()
        assert torch.equal(layer.weight, before)


def test_a_subclass_of_tensor_is_stepped():
    class Tagged(torch.Tensor):
        pass

    plain = torch.nn.Parameter(torch.ones(4))
    tagged = torch.ones(4).as_subclass(Tagged).requires_grad_()
    for x in (plain, tagged):
        x.grad = torch.arange(4.0).as_subclass(type(x.data))
        Adam([x], lr=0.1).step()
    assert torch.equal(plain.data, tagged.detach().as_subclass(torch.Tensor))


def test_steps_on_the_meta_device_do_nothing():
    x = torch.nn.Parameter(torch.ones(4, device="meta"))
    x.grad = torch.ones(4, device="meta")
    Adam([x]).step()


def test_code_that_asks_for_an_adam_is_told_that_it_is_one():
    assert isinstance(Adam([torch.nn.Parameter(torch.ones(1))]), torch.optim.Adam)
