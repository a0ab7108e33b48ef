"""A step whose gradients are not all finite is what the caller asked for: NaN, nothing at all, or an error."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamkit.kernels import cpu
from adamkit.torch import Adam

pytestmark = pytest.mark.slow  # seconds, all in all

SIZES = (1, 70_000, 3, 40_000)  # several pieces for several threads


def parameters(dtype=torch.float32):
    torch.manual_seed(0)
    made = [torch.nn.Parameter(torch.randn(size).to(dtype)) for size in SIZES]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape).to(dtype)
    return made


@given(
    dtype=st.sampled_from(["float32", "float64", "bfloat16", "float16"]),
    value=st.sampled_from([float("nan"), float("inf"), -float("inf"), None]),
    tensor=st.integers(0, len(SIZES) - 1),
    where=st.floats(0, 1, exclude_max=True),
    threads=st.sampled_from([1, 2, 5]),
)
def test_the_kernel_finds_what_is_not_finite_wherever_it_is(dtype, value, tensor, where, threads):
    tensors = [
        torch.full((size,), torch.finfo(getattr(torch, dtype)).max, dtype=getattr(torch, dtype)) for size in SIZES
    ]
    if value is not None:
        tensors[tensor][int(where * SIZES[tensor])] = value
    assert list(cpu.nonfinite(dtype, tensors, threads)) == [
        value is not None and n == tensor for n in range(len(SIZES))
    ]


def everything(made, optimizer):
    state = [value.clone() for parameter in made for value in optimizer.state[parameter].values()]
    return [*(parameter.detach().clone() for parameter in made), *state]


@pytest.mark.parametrize("options", [{}, {"moment_dtype": "int8"}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_skipped_step_leaves_every_bit_and_is_counted(dtype, options):
    made = parameters(dtype)
    optimizer = Adam(made, on_nonfinite="skip", **options)
    optimizer.step()
    before, good = everything(made, optimizer), made[1].grad.clone()
    made[1].grad[69_999] = float("inf")
    optimizer.step()
    assert all(torch.equal(now, then) for now, then in zip(everything(made, optimizer), before, strict=True))
    assert optimizer.skipped_steps == 1
    assert copy.deepcopy(optimizer).skipped_steps == 1
    made[1].grad = good
    optimizer.step()
    others = parameters(dtype)
    plain = Adam(others, **options)
    for _ in range(2):
        plain.step()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(made, others, strict=True))


def test_an_error_names_the_parameter_and_the_step():
    made = parameters()
    optimizer = Adam([("a", made[0]), ("b", made[1]), ("c", made[2])], on_nonfinite="raise")
    optimizer.step()
    before = everything(made[:3], optimizer)
    made[2].grad[0] = made[1].grad[5] = float("nan")
    with pytest.raises(FloatingPointError, match=r"the gradient of b, of shape \(70000,\), is not finite in step 2"):
        optimizer.step()
    assert all(torch.equal(now, then) for now, then in zip(everything(made[:3], optimizer), before, strict=True))


def test_sparse_gradients_and_wrong_values():
    weights = torch.nn.Parameter(torch.ones(4, 2))
    weights.grad = torch.sparse_coo_tensor([[1]], [[1.0, float("nan")]], (4, 2), check_invariants=True)
    optimizer = Adam([weights], lazy=True, on_nonfinite="skip")
    optimizer.step()
    assert (optimizer.skipped_steps, weights.sum().item()) == (1, 8)
    with pytest.raises(ValueError, match="on_nonfinite must be one of"):
        Adam([weights], on_nonfinite="ignore")
    with pytest.raises(ValueError, match="must be 'propagate' with capturable=True"):
        Adam([weights], on_nonfinite="skip", capturable=True)
