"""The CPU kernel is the rule: the same bits, for any sizes, addresses and number of threads."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit import rule
from adamkit.kernels import cpu

DTYPES = [torch.float32, torch.float64]


def draw(seed, sizes, dtype, offset=0):
    """θ, g, m and v of each size, some of them not aligned to a vector."""
    generator = torch.Generator().manual_seed(seed)

    def tensors():
        return [torch.randn(offset + size, generator=generator, dtype=dtype)[offset:] for size in sizes]

    return tensors(), tensors(), tensors(), [tensor.square() for tensor in tensors()]


def copies(*lists):
    return [[tensor.clone() for tensor in tensors] for tensors in lists]


def coefficients(step=3, beta_1=0.9, beta_2=0.999, weight_decay=0.0, decoupled=True):
    return rule.coefficients(
        step, 0.01, rule.Decay.of(beta_1), rule.Decay.of(beta_2), 1e-8, weight_decay, decoupled=decoupled
    )


def by_rule(theta, g, m, v, largest, k):
    """`rule.update` in NumPy, tensor by tensor."""
    for i in range(len(theta)):
        arrays = [tensors[i].numpy() for tensors in (theta, g, m, v)]
        new = rule.update(*arrays, None if largest is None else largest[i].numpy(), k, xp=np)
        theta[i], m[i], v[i] = map(torch.from_numpy, new[:3])
        if largest is not None:
            largest[i] = torch.from_numpy(new.max_second_moment)


def assert_same_bits(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


sizes = st.lists(st.integers(0, 70), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    sizes=sizes,
    offset=st.integers(0, 3),
    dtype=st.sampled_from(DTYPES),
    step=st.integers(1, 10**9),
    beta_1=st.sampled_from([0.0, 0.3, 0.9]),
    beta_2=st.sampled_from([0.0, 0.4, 0.999, 0.99999]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
    amsgrad=st.booleans(),
)
def test_has_the_bits_of_the_rule(seed, sizes, offset, dtype, step, beta_1, beta_2, weight_decay, decoupled, amsgrad):
    k = coefficients(step, beta_1, beta_2, weight_decay, decoupled)
    theta, g, m, v = draw(seed, sizes, dtype, offset)
    largest = [tensor.clone() / 2 for tensor in v] if amsgrad else None
    expected = copies(theta, m, v, *([largest] if amsgrad else []))
    exact_largest = expected[3] if amsgrad else None
    by_rule(expected[0], g, expected[1], expected[2], exact_largest, k)
    cpu.step(theta, g, m, v, largest, k, threads=2)
    for ours, theirs in zip((theta, m, v, *([largest] if amsgrad else [])), expected, strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("pool", ["OpenMP", "Python threads"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_has_the_same_bits_for_any_number_of_threads(dtype, pool, monkeypatch):
    monkeypatch.setattr(cpu, "_forked", pool == "Python threads")
    many = [1, 1000, 0, 17, 123_457, 5, 200_000]
    theta, g, m, v = draw(0, many, dtype)
    expected = copies(theta, m, v)
    cpu.step(expected[0], g, expected[1], expected[2], None, coefficients(), threads=1)
    for threads in (2, 3, 7):
        ours = copies(theta, m, v)
        cpu.step(ours[0], g, ours[1], ours[2], None, coefficients(), threads)
        for a, b in zip(ours, expected, strict=True):
            assert_same_bits(a, b)


def test_maximize_is_the_step_of_the_opposite_gradient():
    theta, g, m, v = draw(1, [100], torch.float32)
    other = copies(theta, m, v)
    cpu.step(theta, g, m, v, None, coefficients(), 1, maximize=True)
    cpu.step(other[0], [-g[0]], other[1], other[2], None, coefficients(), 1)
    assert_same_bits(theta, other[0])


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_nan_infinity_and_overflow_propagate_as_in_pytorch(fused, amsgrad):
    special = torch.tensor([0.0, 1.0, torch.inf, -torch.inf, torch.nan, 1e30, -1e-30, 1e-45])
    gradients = [special.roll(shift) for shift in (0, 0, 3)]
    parameter = torch.nn.Parameter(torch.ones(8))
    optimizer = torch.optim.Adam([parameter], amsgrad=amsgrad, fused=fused)
    theta, m, v = torch.ones(8), torch.zeros(8), torch.zeros(8)
    largest = [torch.zeros(8)] if amsgrad else None
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = gradient.clone()
        optimizer.step()
        k = rule.coefficients(step, 1e-3, rule.Decay.of(0.9), rule.Decay.of(0.999), 1e-8)
        cpu.step([theta], [gradient], [m], [v], largest, k, 1)
        torch.testing.assert_close(theta, parameter.data, equal_nan=True)
        torch.testing.assert_close(v, optimizer.state[parameter]["exp_avg_sq"], equal_nan=True)


def test_steps_from_several_python_threads_at_once():
    work = [draw(seed, [50_000, 3], torch.float32) for seed in range(4)]
    expected = []
    for theta, g, m, v in work:
        single = copies(theta, m, v)
        for _ in range(20):
            cpu.step(single[0], g, single[1], single[2], None, coefficients(), 1)
        expected.append(single[0])

    def run(theta, g, m, v):
        for _ in range(20):
            cpu.step(theta, g, m, v, None, coefficients(), 2)

    threads = [threading.Thread(target=run, args=lists) for lists in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (theta, *_), single in zip(work, expected, strict=True):
        assert_same_bits(theta, single)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: torch.ones(3, 4), True),
        (lambda: torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), True),
        (lambda: torch.ones(3, 4).t(), False),
        (lambda: torch.ones(8)[::2], False),
        (lambda: torch.ones(1).expand(4), False),
        (lambda: torch.ones(3, dtype=torch.bfloat16), False),
        (lambda: torch.ones(3, dtype=torch.complex64), False),
        (lambda: torch.ones(3, 4).to_sparse(), False),
        (lambda: torch.ones(3, device="meta"), False),
        (lambda: torch.imag(torch.ones(3, dtype=torch.complex64).conj()), False),
    ],
)
def test_applies_to_dense_real_tensors_only(make, expected):
    assert cpu.applies(make(), make()) is expected


def test_does_not_apply_to_tensors_of_different_layouts_or_dtypes():
    one = torch.ones(2, 3, 4, 5)
    assert not cpu.applies(one, one.to(memory_format=torch.channels_last))
    assert not cpu.applies(one, one.double())
    assert not cpu.applies(one, one[:1])


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


STEP = """
    import torch
    from adamkit.torch import Adam
    torch.set_num_threads(2)
    x = torch.nn.Parameter(torch.ones(100_000))
    def step():
        x.grad = torch.ones_like(x)
        Adam([x], lr=0.5).step()
    step()
    assert torch.equal(x.data, torch.full_like(x, 0.5)), x
"""


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_step(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    result = run_python(STEP, NUMBA_CACHE_DIR=str(occupied / "cache"))
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_several_processes_that_start_at_once_share_the_cache(tmp_path):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(STEP)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    assert list(tmp_path.rglob("*"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_step_after_its_parent_did():
    result = run_python(
        """
        import os, signal, torch
        from adamkit.torch import Adam
        torch.set_num_threads(2)
        x = torch.nn.Parameter(torch.ones(100_000))
        x.grad = torch.ones_like(x)
        optimizer = Adam([x], lr=0.25)
        optimizer.step()
        child = os.fork()
        if child == 0:  # PyTorch's own parallel operations may hang from here on
            signal.alarm(60)
            optimizer.step()
            os._exit(0 if abs(x.detach().numpy() - 0.5).max() < 1e-6 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        optimizer.step()
        """
    )
    assert result.returncode == 0, result.stderr


def test_compiling_ahead_covers_every_kernel():
    cpu.compile_kernels()
    before = cpu._kernel.cache_info().misses
    for dtype in DTYPES:
        theta, g, m, v = draw(0, [4], dtype)
        cpu.step(theta, g, m, v, None, coefficients(), 1)
        cpu.step(theta, g, m, v, [v[0].clone()], coefficients(), 1)
    assert cpu._kernel.cache_info().misses == before
