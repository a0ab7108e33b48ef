"""`adamkit.torch.Adam` by the GPU kernel, and what it does where there is none."""

import os
import runpy
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamkit import moments
from adamkit.kernels import gpu
from adamkit.kernels.form import Form
from adamkit.kernels.gpu import launch
from adamkit.kernels.gpu import triton as required
from adamkit.kernels.gpu.table import ROW, TILE, table
from adamkit.torch import Adam, one_pass

pytestmark = pytest.mark.slow  # seconds, all in all


def train(optimizer, parameters, steps, kernel, monkeypatch):
    """Some steps by one of the kernels, on the CPU: that of the GPU by the interpreter."""
    with monkeypatch.context() as patch:
        patch.setattr(one_pass, "kernel_for", lambda slot, step: kernel)
        patch.setattr("adamkit.torch.steps.kernel_for", one_pass.kernel_for)
        optimizer._memory = one_pass.Memory()
        for step in range(*steps):
            generator = torch.Generator().manual_seed(step)
            for x in parameters:
                x.grad = torch.randn(x.shape, generator=generator).to(x.dtype)
            optimizer.step()


@pytest.mark.skipif(os.environ["TRITON_INTERPRET"] != "1", reason="steps tensors on the CPU")
@pytest.mark.parametrize(
    ("moment_dtype", "parameter_rounding", "amsgrad"),
    [("int8", "stochastic", False), ("bfloat16", "compensated", True)],
)
def test_a_run_may_change_between_the_kernels_at_any_step(moment_dtype, parameter_rounding, amsgrad, monkeypatch):
    states = []
    for kernels in (["cpu"] * 3, ["cpu", "gpu", "cpu"]):
        torch.manual_seed(0)
        sizes = ((moments.MIN_SIZE + 5, torch.float32), (3, torch.bfloat16), (moments.MIN_SIZE, torch.bfloat16))
        parameters = [torch.nn.Parameter(torch.randn(size).to(dtype)) for size, dtype in sizes]
        options = {"moment_dtype": moment_dtype, "parameter_rounding": parameter_rounding, "amsgrad": amsgrad}
        optimizer = Adam(parameters, lr=0.01, weight_decay=0.01, rounding_seed=7, **options)
        for start, kernel in zip((0, 2, 4), kernels, strict=True):
            train(optimizer, parameters, (start, start + 2), kernel, monkeypatch)
        states.append([*parameters, *(x for state in optimizer.state.values() for x in state.values())])
    for expected, ours in zip(*states, strict=True):
        assert torch.equal(expected, ours)


@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 70), st.sampled_from([TILE - 1, TILE, TILE + 1, 5 * TILE])), min_size=1, max_size=9
    )
)
def test_every_element_is_in_one_tile(sizes):
    made = table(Form(), sizes, [range(len(sizes))] * 4, torch.device("cpu"))
    owners, rows = made.owners.tolist(), made.rows.tolist()
    assert made.tiles == len(owners)
    found = [(owner, i - rows[owner][ROW.index("start")]) for i, owner in enumerate(owners)]
    assert found == [(n, tile) for n, size in enumerate(sizes) for tile in range(-(-size // TILE))]
    assert [row[ROW.index("size")] for row in rows] == sizes


def test_a_table_is_renewed_when_something_has_moved_and_only_then():
    held, form, cpu = gpu.Tables(), Form(), torch.device("cpu")
    first = held.table("key", form, [5], [[16], [32], [48], [64]], cpu)
    assert held.table("key", form, [5], [[16], [32], [48], [64]], cpu) is first
    second = held.table("key", form, [5], [[16], [320], [48], [64]], cpu)
    assert second.rows[0, ROW.index("gradient")] == 320
    assert first.rows[0, ROW.index("gradient")] == 32  # a launch that still reads it finds it as it was


def test_a_table_that_a_graph_fills_is_kept_for_that_graph_alone(monkeypatch):
    held, arguments = gpu.Tables(), ("key", Form(), [5], [[16], [32], [48], [64]], torch.device("cpu"))
    monkeypatch.setattr("adamkit.kernels.gpu.table._is_capturing", lambda device: True)
    first, second = held.table(*arguments), held.table(*arguments)
    monkeypatch.undo()
    eager = held.table(*arguments)
    assert len({id(first), id(second), id(eager)}) == 3
    assert [id(x) for x in held._captured] == [id(first), id(second)]
    monkeypatch.setattr("adamkit.kernels.gpu.table._is_capturing", lambda device: True)
    assert held.table(*arguments) is eager  # which is filled, and must now stay


def test_a_kernel_that_does_not_compile_is_a_warning_and_no_kernel(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(launch, "_run", fail)
    with pytest.warns(RuntimeWarning, match="PyTorch's operations.* RuntimeError: Failed to find C compiler"):
        assert launch.compiles.__wrapped__(Form(), torch.device("cpu")) is False


def test_no_triton_and_an_old_one_are_named(monkeypatch):
    monkeypatch.setattr(required.triton, "__version__", "3.5.1")
    with pytest.raises(ImportError, match=r"needs Triton 3\.6 or later.*adamkit\[gpu\].*Found: 3\.5\.1"):
        runpy.run_path(required.__file__)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ImportError, match=r"needs Triton.*adamkit\[gpu\]"):
        runpy.run_path(required.__file__)
    monkeypatch.setitem(sys.modules, "adamkit.kernels.gpu", None)
    monkeypatch.delattr("adamkit.kernels.gpu")
    assert one_pass.gpu_kernel.__wrapped__() is None


def test_tensors_that_are_on_no_gpu_are_not_taken():
    x = torch.ones(3)
    assert not gpu.applies(Form(), [x, x, x, x])
    assert not gpu.applies(Form("float64"), [x.double()] * 4)


def test_a_graph_that_would_count_no_steps_is_refused(monkeypatch):
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="capturable=True only"):
        Adam([parameter]).step()
    assert torch.equal(parameter, torch.ones(3))
    Adam([parameter], capturable=True).step()
    assert (parameter < 1).all()
