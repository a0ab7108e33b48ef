"""PyTorch's own definitions of Adam's and AdamW's test inputs and errors, run against `adamkit.torch.Adam`."""

import copy

import pytest
import torch

from adamkit.torch import Adam

pytest.importorskip("expecttest", reason="PyTorch's test definitions import it")

from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

CPU = torch.device("cpu")
INFOS = {info.optim_cls: info for info in optim_db if info.optim_cls in (torch.optim.Adam, torch.optim.AdamW)}


def make(peer_class, params, **options):
    """adamkit's optimizer as a drop-in for PyTorch's Adam or AdamW."""
    if peer_class is torch.optim.AdamW:
        return Adam(params, **{"weight_decay": 0.01, "decoupled_weight_decay": True, **options})
    return Adam(params, **options)


def inputs():
    for peer_class, info in INFOS.items():
        for index, case in enumerate(info.optim_inputs_func(device=CPU)):
            yield pytest.param(peer_class, index, id=f"{peer_class.__name__}-{case.desc}")


def errors():
    for peer_class, info in INFOS.items():
        for index, case in enumerate(info.optim_error_inputs_func(device=CPU, dtype=torch.float32)):
            yield pytest.param(peer_class, index, id=f"{peer_class.__name__}-{case.optimizer_error_input.desc}")


def test_pytorch_defines_both():
    assert len(INFOS) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("flags", [{}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize(("peer_class", "index"), list(inputs()))
def test_trains_a_layer_as_pytorch_does(peer_class, index, flags, dtype):
    options = INFOS[peer_class].optim_inputs_func(device=CPU, dtype=dtype)[index].kwargs
    if isinstance(options.get("lr"), torch.Tensor) and flags.get("foreach"):
        pytest.skip("refused by both")
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
        torch.testing.assert_close(x.double(), y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("peer_class", "index"), list(errors()))
def test_raises_what_pytorch_raises(peer_class, index):
    case = INFOS[peer_class].optim_error_inputs_func(device=CPU, dtype=torch.float32)[index]
    given = case.optimizer_error_input
    params = [torch.nn.Parameter(torch.randn(2, 2))] if given.params is None else given.params
    assert case.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            make(peer_class, params, **given.kwargs)
    else:
        with pytest.raises(case.error_type, match=case.error_regex):
            make(peer_class, params, **given.kwargs)
