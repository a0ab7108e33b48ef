"""The optimizer inside PyTorch's machinery: checkpoints, gradient scaling, autocast, compiled models, accumulation."""

import copy
import io
import logging

import pytest
import torch

from adamkit.torch import Adam


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).to(dtype)


def loss_of(network, seed):
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
    return network(x.to(next(network.parameters()).dtype)).square().mean()


def train(network, optimizer, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        loss_of(network, seed).backward()
        optimizer.step()


def assert_same(one, other):
    for x, y in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(x, y)


def saved(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "weight_decay": 0.1}], ids=str)
def test_a_saved_run_continues_with_the_same_bits(dtype, options):
    whole, first = model(dtype), model(dtype)
    optimizer = Adam(whole.parameters(), **options)
    train(whole, optimizer, range(8))
    before = Adam(first.parameters(), **options)
    train(first, before, range(4))
    second = copy.deepcopy(first)
    after = Adam(second.parameters(), lr=0.5)
    after.load_state_dict(saved(before.state_dict()))
    train(second, after, range(4, 8))
    assert_same(whole, second)


def test_loading_a_pytorch_checkpoint_widens_narrow_moments_and_keeps_what_it_lacks():
    network = model(torch.bfloat16)
    peer = torch.optim.AdamW(network.parameters(), lr=0.02)
    train(network, peer, range(2))
    optimizer = Adam(network.parameters(), moment_dtype="float32", lazy=True)
    optimizer.load_state_dict(peer.state_dict())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["decoupled_weight_decay"], group["lazy"]) == (0.02, True, True)
    for x in network.parameters():
        assert optimizer.state[x]["exp_avg"].dtype == torch.float32
        assert torch.equal(optimizer.state[x]["exp_avg"].bfloat16(), peer.state[x]["exp_avg"])


def test_loading_copies():
    network = model()
    optimizer = Adam(network.parameters())
    train(network, optimizer, range(2))
    state = optimizer.state_dict()
    other = Adam(copy.deepcopy(network).parameters())
    other.load_state_dict(state)
    other.state_dict()["state"][0]["exp_avg"].zero_()
    assert optimizer.state_dict()["state"][0]["exp_avg"].abs().sum() > 0


def test_load_hooks_run_and_may_replace_the_state():
    network = model()
    optimizer = Adam(network.parameters())
    good, seen = optimizer.state_dict(), []
    optimizer.register_load_state_dict_pre_hook(lambda _, __: good)
    optimizer.register_load_state_dict_post_hook(lambda _: seen.append("after"))
    optimizer.load_state_dict({})
    assert seen == ["after"]


def test_grad_scaler_skips_a_step_with_an_infinite_gradient():
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([x], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor, expected in ((1.0, 0.9), (float("inf"), 0.9), (1.0, 0.8)):
        optimizer.zero_grad()
        scaler.scale((x * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        torch.testing.assert_close(x.data, torch.full((3,), expected))
    assert optimizer.state[x]["step"] == 2


def test_autocast_trains():
    network = model()
    optimizer = Adam(network.parameters(), lr=0.05)
    before = loss_of(network, 0).item()
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(network, 0)
        loss.backward()
        optimizer.step()
    assert loss_of(network, 0).item() < before


def test_gradient_accumulation_is_the_step_of_the_sum():
    one, other = model(), model()
    first, second = Adam(one.parameters()), Adam(other.parameters())
    for seed in range(4):
        (loss_of(one, seed) / 4).backward()
    first.step()
    (sum(loss_of(other, seed) for seed in range(4)) / 4).backward()
    second.step()
    for x, y in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_a_compiled_model_trains_the_same():
    plain, compiled = model(), model()
    train(plain, Adam(plain.parameters()), range(3))
    train(torch.compile(compiled, backend="eager"), Adam(compiled.parameters()), range(3))
    assert_same(plain, compiled)


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step_and_compiled_once_without_a_warning(caplog):
    plain, compiled = model(), model()
    first, second = Adam(plain.parameters()), Adam(compiled.parameters())

    def step():
        second.step()

    compiled_step = torch.compile(step, backend="eager")
    for seed, stance in enumerate(("default", "fail_on_recompile", "fail_on_recompile")):
        for network, optimizer in ((plain, first), (compiled, second)):
            optimizer.zero_grad()
            loss_of(network, seed).backward()
        first.step()
        with torch.compiler.set_stance(stance):
            compiled_step()
    assert_same(plain, compiled)
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    # PyTorch's `Optimizer` puts a record for the profiler around each optimizer's step.
    assert not [message for message in logged if "record_function" not in message]


def test_a_step_in_a_graph_that_must_be_whole_is_refused():
    x = torch.nn.Parameter(torch.ones(3))
    x.grad = torch.ones(3)
    optimizer = Adam([x])
    with pytest.raises(RuntimeError, match="step_outside_of_graphs"):
        torch.compile(optimizer.step, backend="eager", fullgraph=True)()
    assert torch.equal(x.data, torch.ones(3))


def test_inference_between_steps_leaves_the_run_as_it_is():
    one, other = model(), model()
    first, second = Adam(one.parameters()), Adam(other.parameters())
    for seed in range(3):
        train(one, first, [seed])
        train(other, second, [seed])
        with torch.inference_mode():
            loss_of(other, 9)
    assert_same(one, other)


@pytest.mark.parametrize("schedule", ["StepLR", "CosineAnnealingLR", "ReduceLROnPlateau"])
def test_schedulers_drive_the_learning_rate(schedule):
    ours, theirs = model(), model()
    pairs = [(ours, Adam(ours.parameters(), lr=0.1)), (theirs, torch.optim.Adam(theirs.parameters(), lr=0.1))]
    extra = {"StepLR": (1,), "CosineAnnealingLR": (4,), "ReduceLROnPlateau": ("min", 0.1, 0)}[schedule]
    schedulers = [getattr(torch.optim.lr_scheduler, schedule)(optimizer, *extra) for _, optimizer in pairs]
    for seed in range(5):
        for (network, optimizer), scheduler in zip(pairs, schedulers, strict=True):
            train(network, optimizer, [seed])
            scheduler.step(*([1.0] if schedule == "ReduceLROnPlateau" else []))
    for x, y in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
