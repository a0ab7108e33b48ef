"""PyTorch's own definitions of Adam's and AdamW's test inputs and errors, run against `adamkit.torch.Adam`."""

import copy

import pytest
import torch

from adamkit.torch import Adam

pytest.importorskip("expecttest", reason="PyTorch's test definitions import it")

CPU = torch.device("cpu")
PEERS = torch.optim.Adam, torch.optim.AdamW


@pytest.fixture(scope="module")
def definitions():
    """PyTorch's definitions for each peer, imported when a test runs: they bring its compiler, and take seconds."""
    from torch.testing._internal.common_optimizers import optim_db

    found = {info.optim_cls: info for info in optim_db if info.optim_cls in PEERS}
    assert len(found) == len(PEERS)
    return found


def make(peer_class, params, **options):
    """adamkit's optimizer as a drop-in for PyTorch's Adam or AdamW."""
    if peer_class is torch.optim.AdamW:
        return Adam(params, **{"weight_decay": 0.01, "decoupled_weight_decay": True, **options})
    return Adam(params, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("flags", [{}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("peer_class", PEERS)
@pytest.mark.slow
def test_trains_a_layer_as_pytorch_does(definitions, peer_class, flags, dtype):
    cases = definitions[peer_class].optim_inputs_func(device=CPU, dtype=dtype)
    assert len(cases) >= 5
    for case in cases:
        if not (isinstance(case.kwargs.get("lr"), torch.Tensor) and flags.get("foreach")):  # refused by both
            assert_same_training(peer_class, case.kwargs, flags, dtype, f"{case.desc}: {case.kwargs}")


def assert_same_training(peer_class, options, flags, dtype, message):
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)).to(dtype)
    theirs = copy.deepcopy(ours).to(torch.float64)
    mine = make(peer_class, ours.parameters(), **copy.deepcopy(options), **flags)
    peer = peer_class(theirs.parameters(), **copy.deepcopy(options))
    for _ in range(5):
        gradients = [torch.randn_like(x) for x in ours.parameters()]
        for x, y, gradient in zip(ours.parameters(), theirs.parameters(), gradients, strict=True):
            x.grad, y.grad = gradient, gradient.double()
        mine.step()
        peer.step()
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    for x, y in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(x.double(), y, rtol=tolerance, atol=tolerance, msg=lambda text: f"{message}\n{text}")


@pytest.mark.parametrize("peer_class", PEERS)
@pytest.mark.slow
def test_raises_what_pytorch_raises(definitions, peer_class):
    cases = definitions[peer_class].optim_error_inputs_func(device=CPU, dtype=torch.float32)
    assert len(cases) > 3
    for case in cases:
        given = case.optimizer_error_input
        params = [torch.nn.Parameter(torch.randn(2, 2))] if given.params is None else given.params
        assert case.error_on.name == "CONSTRUCTION_ERROR", given.desc
        if issubclass(case.error_type, Warning):
            raised = pytest.warns(case.error_type, match=case.error_regex)
        else:
            raised = pytest.raises(case.error_type, match=case.error_regex)
        with raised:
            make(peer_class, params, **given.kwargs)
