"""What `describe` says of an optimizer is what it holds: PyTorch and optax; Keras is in `tests/keras`."""

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

from adamkit.description import Description, Row
from adamkit.optax import adam, adamw, apply_updates, describe
from adamkit.torch import Adam

pytestmark = pytest.mark.slow  # seconds, all in all


def test_a_table_has_a_line_for_all():
    rows = (Row("0", 2, 1200, "float32, moments int8", 2400, {"lr": 0.1}), Row("1", 1, 3, "float64", 48, {}))
    lines = str(Description(rows)).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["group", "variables", "parameters"], ["0", "2", "1,200"], ["1", "1", "3"], ["all", "3", "1,203"],
    ]  # fmt: skip
    assert lines[-1].split()[-1] == "2,448"


def parameters():
    shapes = {"kernel": ((64, 64), torch.bfloat16), "bias": ((64,), torch.bfloat16), "scale": ((64,), torch.float64)}
    return {name: torch.nn.Parameter(torch.ones(shape, dtype=dtype)) for name, (shape, dtype) in shapes.items()}


@pytest.mark.parametrize("moment_dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_of_pytorch_the_bytes_are_those_of_the_state(moment_dtype, amsgrad):
    made = parameters()
    groups = [
        {"params": [made["kernel"], made["bias"]], "name": "narrow", "moment_dtype": moment_dtype},
        {"params": [made["scale"]], "lr": torch.tensor(0.25), "weight_decay": 0.1, "lazy": True},
    ]
    optimizer = Adam(groups, lr=0.5, amsgrad=amsgrad)
    before = optimizer.describe()
    for parameter in made.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [tensor for state in optimizer.state.values() for name, tensor in state.items() if name != "step"]
    assert before.bytes == optimizer.describe().bytes == sum(tensor.nbytes for tensor in kept)
    assert before.parameters == 4096 + 64 + 64
    assert {row.group for row in before.rows} == {"narrow", "1"}
    last = before.rows[-1]
    assert (last.settings["lr"], last.settings["weight_decay"], last.settings["lazy"]) == (0.25, 0.1, True)
    assert "lazy" not in before.rows[0].settings
    assert last.formats == "float64, moments float64"
    assert before.rows[0].formats.endswith("remainder int16")


PARAMS = {"kernel": jnp.ones((64, 64), "bfloat16"), "bias": jnp.ones(64), "codes": jnp.ones((2, 64))}


def arrays_of(state):
    """All but the step counts."""
    return [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]


@pytest.mark.parametrize("moment_dtype", ["float32", "int8"])
def test_of_optax_the_bytes_are_those_of_the_state(moment_dtype):
    optimizer = optax.chain(optax.clip(1.0), adamw(0.1, moment_dtype=moment_dtype, parameter_rounding="compensated"))
    state = optimizer.init(PARAMS)
    updates, state = optimizer.update(PARAMS, state, PARAMS)
    apply_updates(PARAMS, updates, state)
    found = describe(PARAMS, state)
    assert found.bytes == sum(leaf.nbytes for leaf in arrays_of(state))
    assert found.parameters == 4096 + 64 + 128
    assert found.rows[0].settings == {"steps": 1}
    assert f"bfloat16, moments {moment_dtype}, remainder float32" in [row.formats for row in found.rows]


def test_of_optax_groups_are_the_labels_of_a_partition_and_injected_numbers_are_shown():
    slow = optax.inject_hyperparams(adam)(learning_rate=0.125)
    labels = {"kernel": "slow", "bias": "fast", "codes": "fast"}
    optimizer = optax.partition({"slow": slow, "fast": adam(0.5, moment_dtype="bfloat16")}, labels)
    state = optimizer.init(PARAMS)
    found = {row.group: row for row in describe(PARAMS, state).rows}
    assert found["slow"].settings["learning_rate"] == 0.125
    assert (found["slow"].parameters, found["fast"].parameters, found["fast"].variables) == (4096, 192, 2)
    assert found["fast"].formats == "float32, moments bfloat16"
    with pytest.raises(ValueError, match=r"state must hold a state of adamkit\.optax"):
        describe(PARAMS, optax.sgd(0.1).init(PARAMS))


def test_of_optax_what_finds_the_learning_rate_and_what_averages_is_shown():
    optimizer = adam("auto", moment_dtype="int8")
    state = optimizer.init(PARAMS)
    found = describe(PARAMS, state)
    assert found.bytes == sum(leaf.nbytes for leaf in arrays_of(state))  # with θ₀ and s
    assert found.rows[0].settings == {"steps": 0, "learning_rate": 1e-6}
    state = adam(0.1, schedule_free=True).init(PARAMS)
    found = describe(PARAMS, state)
    assert found.bytes == sum(leaf.nbytes for leaf in arrays_of(state))
    assert found.rows[0].settings == {"steps": 0, "schedule_free": True}
