"""Ten planted faults are found by their name, and nothing in ten healthy runs."""

import numpy as np
import pytest
import torch

from adamkit import findings
from adamkit.torch import Adam, watch

pytestmark = pytest.mark.slow  # seconds, all in all

ROWS = 256


def run(epochs=40, lr=0.01, dtype=torch.float32, scale=1.0, edit=None, betas=(0.9, 0.99), labels=None, **options):
    """The kinds of findings in a small regression, and its losses, four steps an epoch."""
    torch.set_num_threads(1)  # which is faster for what is this small
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    x = torch.randn(ROWS, 6)
    y = x[:, :1] - 0.5 * x[:, 1:2] if labels is None else labels(x)
    if edit is not None:
        edit(model)
    model.to(dtype)
    optimizer = options.pop("optimizer", Adam)(model.parameters(), lr=lr, betas=betas, **options)
    watching = watch(optimizer, model, every=20, warn=False)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.arange(ROWS).split(ROWS // 4):
            optimizer.zero_grad()
            loss = scale * ((model(x[rows].to(dtype)) - y[rows].to(dtype)) ** 2).mean()
            loss.backward()
            optimizer.step()
            total += loss.item() / 4
        losses.append(total)
    watching.stop()
    return {finding.kind for finding in (*watching.found, *watching.losses(losses))}


def dead(model):
    with torch.no_grad():
        model[0].bias[:8] = -100.0


def apart(model):
    model.register_parameter("unused", torch.nn.Parameter(torch.ones(3, 3)))


FAULTS = {
    "rounding": {"dtype": torch.bfloat16, "lr": 1e-5, "parameter_rounding": "nearest"},
    "epsilon": {"eps": 10.0},
    "underflow": {"scale": 1e-25},
    "long-memory": {"betas": (0.9, 0.9999)},
    "large-steps": {"lr": 1.0, "epochs": 3},
    "small-steps": {"lr": 1e-8},
    "no-gradient": {"edit": apart},
    "dead-units": {"edit": dead},
    "plateau": {"lr": 1e-7},
    "unfinished": {"lr": 1e-4},
}
HEALTHY = {
    "plain": {},
    "amsgrad": {"amsgrad": True},
    "bfloat16": {"dtype": torch.bfloat16},
    "stochastic": {"dtype": torch.bfloat16, "parameter_rounding": "stochastic"},
    "bfloat16 moments": {"moment_dtype": "bfloat16"},
    "weight decay": {"weight_decay": 1e-4, "decoupled_weight_decay": True},
    "PyTorch's": {"optimizer": torch.optim.Adam},
    "a larger rate": {"lr": 0.02},
    "another beta": {"betas": (0.8, 0.95)},
    "float64": {"dtype": torch.float64},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found(kind):
    assert kind in run(**FAULTS[kind])


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_in_a_healthy_run(name):
    assert run(**HEALTHY[name]) == set()


def test_losses_that_rise_and_that_are_not_finite():
    assert [found.kind for found in findings.of_run([4.0, 2.0, 1.0, 0.5, 1.0, 2.0, 3.0, 4.0], 10**4, 0.999)] == [
        "rising"
    ]
    found = findings.of_run([1.0, 0.5, np.nan, np.nan], 10**4, 0.999)
    assert [(one.kind, one.figure) for one in found] == [("not-finite", 3)]


def test_warnings_come_once_and_wrong_arguments_are_named():
    x = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Adam([x], lr=10.0)
    watch(optimizer)
    x.grad = torch.ones(2, 2)
    optimizer.step()
    with pytest.warns(
        RuntimeWarning, match=r"params\[0\]: a step is .* of the weights.* Try a learning rate of a tenth"
    ):
        optimizer.step()
    optimizer.step()
    with pytest.raises(TypeError, match=r"optimizer must be an Adam. Received: SGD"):
        watch(torch.optim.SGD([x], lr=0.1))
    with pytest.raises(ValueError, match=r"every must be a whole number >= 1. Received: every=0"):
        watch(optimizer, every=0)
