"""Two processes end where one does: DDP, and FSDP2 with a distributed checkpoint."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from adamkit.torch import Adam

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
]
STEPS = 4
OPTIONS = {"amsgrad": True, "weight_decay": 0.1}


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))


def batch(step):
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(step))


def train(network, optimizer, steps, part=slice(None)):
    for step in steps:
        optimizer.zero_grad()
        network(batch(step)[part]).square().mean().backward()
        optimizer.step()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What process 0 of two saved under the name of each work; to start them takes most of the time."""
    folder = tmp_path_factory.mktemp("processes")
    context = mp.spawn(_start, (str(folder),), nprocs=2, join=False)
    try:
        for _ in range(60):
            if context.join(timeout=2):
                break
        else:
            pytest.fail("two processes did not end within two minutes")
    finally:
        for process in context.processes:
            process.kill()
    return {work: torch.load(folder / work, weights_only=True) for work in WORKS}


def _start(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        for name, work in WORKS.items():
            result = work(rank, folder)
            if rank == 0:
                torch.save(result, f"{folder}/{name}")
            dist.barrier()  # the other process may still be at work with this one
    finally:
        dist.destroy_process_group()


def _ddp(rank, folder):
    network = model()
    parallel = torch.nn.parallel.DistributedDataParallel(network)
    train(parallel, Adam(parallel.parameters(), lr=0.01), range(STEPS), slice(4 * rank, 4 * rank + 4))
    return network.state_dict()


def narrow_model():
    """Rows of 63 numbers: what a process has of them begins within a block of 64."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 63), torch.nn.Linear(63, 131), torch.nn.Linear(131, 3))


def _sharded(made=model, dtype=torch.float32, **options):
    from torch.distributed.fsdp import fully_shard

    network = made().to(dtype)
    for layer in network:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer)
    fully_shard(network)
    return network, Adam(network.parameters(), lr=0.01, **options)


def _fsdp(rank, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    part = slice(4 * rank, 4 * rank + 4)
    network, optimizer = _sharded(**OPTIONS)
    train(network, optimizer, range(STEPS // 2), part)
    with pytest.raises(ValueError, match="blockwise=True needs parameters that are whole in each process"):
        Adam(network.parameters(), blockwise=True)
    networks, optimizers = get_state_dict(network, optimizer)
    dcp.save({"model": networks, "optimizer": optimizers}, checkpoint_id=f"{folder}/checkpoint")

    network, optimizer = _sharded(**OPTIONS)
    networks, optimizers = get_state_dict(network, optimizer)
    state = {"model": networks, "optimizer": optimizers}
    dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
    set_state_dict(network, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    train(network, optimizer, range(STEPS // 2, STEPS), part)
    return {name: tensor.full_tensor() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("work", "options"), [("DDP", {}), ("FSDP2", OPTIONS)])
def test_two_processes_end_where_one_does(work, options, results):
    alone = model()
    train(alone, Adam(alone.parameters(), lr=0.01, **options), range(STEPS))
    torch.testing.assert_close(results[work], alone.state_dict(), rtol=1e-4, atol=1e-5)


NARROW = [
    {"moment_dtype": "int8"},
    {"dtype": torch.bfloat16},
    {"dtype": torch.bfloat16, "moment_dtype": "int8", "parameter_rounding": "compensated8"},
]


def _narrow(rank, folder):
    """For each of `NARROW`: the weights of a run, and of one that goes on from a whole checkpoint; both moments too."""
    from torch.distributed.checkpoint import state_dict as checkpoints

    whole, result = checkpoints.StateDictOptions(full_state_dict=True), []
    for options in NARROW:
        dtype = options.get("dtype", torch.float32)

        def go_on(network, optimizer, steps, dtype=dtype):
            for step in steps:
                optimizer.zero_grad()
                network(batch(step)[4 * rank : 4 * rank + 4].to(dtype)).square().mean().backward()
                optimizer.step()

        network, optimizer = _sharded(narrow_model, **options)
        go_on(network, optimizer, range(STEPS // 2))
        weights = checkpoints.get_model_state_dict(network, options=whole)
        state = checkpoints.get_optimizer_state_dict(network, optimizer, options=whole)
        again, other = _sharded(narrow_model, **options)
        for target in (again, other):
            if target is again:
                checkpoints.set_model_state_dict(target, weights, options=whole)
            else:
                checkpoints.set_optimizer_state_dict(again, target, state, options=whole)
        for pair in ((network, optimizer), (again, other)):
            go_on(*pair, range(STEPS // 2, STEPS))
        finals = [checkpoints.get_model_state_dict(one, options=whole) for one in (network, again)]
        if rank == 0:  # where nothing is sharded
            alone = narrow_model().to(dtype)
            plain = {name: value for name, value in options.items() if name != "dtype"}
            taken = Adam(alone.parameters(), lr=0.01, **plain)
            names = [name for name, _ in alone.named_parameters()]
            numbered = {number: state["state"][name] for number, name in enumerate(names)}
            taken.load_state_dict({"state": numbered, "param_groups": taken.state_dict()["param_groups"]})
            wide = Adam(alone.parameters(), lr=0.01)
            wide.load_state_dict(taken.state_dict())
            moments = {name: dict(wide.state[one]) for name, one in alone.named_parameters()}
            result.append((*finals, {name: one["exp_avg_sq"] for name, one in moments.items()}))
    return result


WORKS = {"DDP": _ddp, "FSDP2": _fsdp, "narrow": _narrow}


def test_narrow_moments_and_parameters_are_sharded_and_go_on_from_a_whole_checkpoint(results):
    for options, (expected, found, second) in zip(NARROW, results["narrow"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        dtype = options.get("dtype", torch.float32)
        alone = narrow_model().to(dtype)
        optimizer = Adam(alone.parameters(), lr=0.01)
        for step in range(STEPS):
            if step == STEPS // 2:
                for name, parameter in alone.named_parameters():
                    largest = optimizer.state[parameter]["exp_avg_sq"].max().item()
                    assert largest > 0
                    bound = 0.1 if "moment_dtype" in options else 0.02  # of the largest; steps of an int8 block are 6 %
                    difference = (second[name] - optimizer.state[parameter]["exp_avg_sq"]).abs().max().item()
                    assert difference < bound * largest, (options, name)
            optimizer.zero_grad()
            alone(batch(step).to(dtype)).square().mean().backward()
            optimizer.step()
        for name, weight in alone.state_dict().items():
            assert (expected[name].float() - weight.float()).abs().mean() < 0.002  # of 4 steps of 0.01
