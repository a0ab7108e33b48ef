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


def run_two_processes(work, folder):
    """`work(rank, folder)` in each of two processes; what process 0 saved as `result`."""
    context = mp.spawn(_start, (work, str(folder)), nprocs=2, join=False)
    try:
        for _ in range(60):
            if context.join(timeout=2):
                break
        else:
            pytest.fail("two processes did not end within two minutes")
    finally:
        for process in context.processes:
            process.kill()
    return torch.load(folder / "result", weights_only=True)


def _start(rank, work, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        work(rank, folder)
        dist.barrier()  # the other process may still be at work with this one
    finally:
        dist.destroy_process_group()


def _ddp(rank, folder):
    network = model()
    parallel = torch.nn.parallel.DistributedDataParallel(network)
    train(parallel, Adam(parallel.parameters(), lr=0.01), range(STEPS), slice(4 * rank, 4 * rank + 4))
    if rank == 0:
        torch.save(network.state_dict(), f"{folder}/result")


def _sharded():
    from torch.distributed.fsdp import fully_shard

    network = model()
    for layer in network:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer)
    fully_shard(network)
    return network, Adam(network.parameters(), lr=0.01, amsgrad=True, weight_decay=0.1)


def _fsdp(rank, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    part = slice(4 * rank, 4 * rank + 4)
    network, optimizer = _sharded()
    train(network, optimizer, range(STEPS // 2), part)
    networks, optimizers = get_state_dict(network, optimizer)
    dcp.save({"model": networks, "optimizer": optimizers}, checkpoint_id=f"{folder}/checkpoint")

    network, optimizer = _sharded()
    networks, optimizers = get_state_dict(network, optimizer)
    state = {"model": networks, "optimizer": optimizers}
    dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
    set_state_dict(network, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    train(network, optimizer, range(STEPS // 2, STEPS), part)
    whole = {name: tensor.full_tensor() for name, tensor in network.state_dict().items()}
    if rank == 0:
        torch.save(whole, f"{folder}/result")


@pytest.mark.parametrize(
    ("work", "options"), [(_ddp, {}), (_fsdp, {"amsgrad": True, "weight_decay": 0.1})], ids=["DDP", "FSDP2"]
)
def test_two_processes_end_where_one_does(work, options, tmp_path):
    result = run_two_processes(work, tmp_path)
    alone = model()
    train(alone, Adam(alone.parameters(), lr=0.01, **options), range(STEPS))
    torch.testing.assert_close(result, alone.state_dict(), rtol=1e-4, atol=1e-5)
