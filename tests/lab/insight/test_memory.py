"""The figures of `adamkit memory`, held to the bytes that live optimizers hold."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adamkit.torch
from adamkit import moments
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.insight import memory

pytestmark = pytest.mark.slow  # seconds, all in all

LARGE = (moments.MIN_SIZE // 16, 17)  # no whole number of blocks
ROWS = [row for row in memory.table([1]) if "master" not in row.parameter_rounding]


def named(row):
    return row.dtype, row.parameter_rounding, row.moment_dtype


def row_of(sizes, row):
    (found,) = (other for other in memory.table(sizes) if named(other) == named(row))
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(named(row)))
def test_keras_holds_what_the_table_says(row):
    variables = [keras.Variable(np.ones(shape), dtype=row.dtype) for shape in (LARGE, (17,))]
    optimizer = Adam(moment_dtype=row.moment_dtype, parameter_rounding=row.parameter_rounding)
    optimizer.build(variables)
    expected = row_of([v.value.size for v in variables], row)
    assert sum(v.value.nbytes for v in variables) == expected.parameters == expected.gradients
    held = [v for v in optimizer.variables if v.name not in ("iteration", "learning_rate")]
    beside = [v for v in held if v.name.endswith("_remainder")]
    assert sum(v.value.nbytes for v in beside) == expected.remainder
    assert sum(v.value.nbytes for v in held) == expected.moments + expected.remainder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(named(row)))
def test_pytorch_holds_what_the_table_says(row):
    parameters = [torch.nn.Parameter(torch.ones(shape, dtype=getattr(torch, row.dtype))) for shape in (LARGE, (17,))]
    optimizer = adamkit.torch.Adam(parameters, moment_dtype=row.moment_dtype, parameter_rounding=row.parameter_rounding)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    expected = row_of([p.numel() for p in parameters], row)
    assert sum(p.nbytes for p in parameters) == expected.parameters
    assert sum(p.grad.nbytes for p in parameters if p.grad is not None) == expected.gradients
    state = [value for held in optimizer.state.values() for name, value in held.items() if name != "step"]
    assert sum(value.nbytes for value in state) == expected.moments + expected.remainder


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_int8_takes_less_than_bfloat16_and_that_less_than_float32(sizes):
    totals = {row.moment_dtype: row.moments for row in memory.table(sizes) if row.dtype == "float32"}
    assert totals["bfloat16"] * 2 == totals["float32"] == 8 * sum(sizes)
    if min(sizes) >= moments.MIN_SIZE:
        assert totals["int8"] <= 2.1 * sum(sizes)


@given(st.lists(st.integers(1, 10**6), min_size=1), st.integers(1, 10**12))
def test_scaled_arrays_keep_their_proportions(sizes, count):
    scaled = memory.scaled(sizes, count)
    assert sum(scaled) == count
    for size, new in zip(sizes, scaled, strict=True):
        assert abs(new - size * count / sum(sizes)) <= 1


def test_the_sizes_of_models_of_every_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import keras, torch\n"
        "def pytorch():\n"
        "    model = torch.nn.Sequential(torch.nn.Linear(20, 3), torch.nn.Linear(3, 1))\n"
        "    model[1].bias.requires_grad_(False)\n"
        "    return model\n"
        "def large():\n"
        "    with torch.device('meta'):\n"
        "        return torch.nn.Linear(100_000, 100_000)\n"
        "def unbuilt():\n"
        "    return keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])\n"
        "def nothing():\n"
        "    return 7\n"
    )
    assert memory.sizes_of("mlp") == ([1280, 64, 64, 1], 0)
    assert memory.sizes_of("own.py:pytorch") == ([60, 3, 3], 1)
    assert memory.sizes_of("own.py:large") == ([10**10, 10**5], 0)
    assert memory.sizes_of("own.py:unbuilt") == ([60, 3, 3, 3], 6)
    with pytest.raises(InputError, match=r"own.py:nothing must give a keras.Model or a torch.nn.Module. Received: int"):
        memory.sizes_of("own.py:nothing")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    model.save(tmp_path / "saved.keras")
    assert memory.sizes_of("saved.keras") == ([10, 2], 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_learning_rate_that_is_found_keeps_what_the_table_says(dtype):
    parameter = torch.nn.Parameter(torch.ones(LARGE, dtype=getattr(torch, dtype)))
    optimizer = adamkit.torch.Adam([parameter], lr="auto")
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    (row, *_) = [row for row in memory.table([parameter.numel()], auto=True) if row.dtype == dtype]
    assert row.estimate == sum(optimizer.state[parameter][name].nbytes for name in ("start", "weighted_sum"))
    variable = keras.Variable(np.ones(LARGE), dtype="float32")
    of_keras = Adam("auto")
    of_keras.build([variable])
    held = sum(v.value.nbytes for v in of_keras.variables if v.name.endswith(("_start", "_sum")))
    assert held == memory.table([parameter.numel()], auto=True)[0].estimate
