"""The CPU kernel is the rule: the same bits, for any sizes, addresses and number of threads."""

import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit import moments, rounding, rule
from adamkit.kernels import cpu
from adamkit.kernels.cpu import Form, launch
from adamkit.kernels.cpu import threads as pools
from adamkit.variants import Variant
from tests.kernels.cases import FORMS, VARIANTS, WIDE, array, assert_same_bits, by_rule, coefficients, copies, draw


def take_step(form, columns, k, threads, number=3, **options):
    cpu.step(form, list(columns.values()), k, threads, number=number, **options)


sizes = st.lists(st.one_of(st.integers(0, 70), st.integers(1000, 1200)), min_size=1, max_size=5)


@pytest.mark.parametrize("forms", [WIDE, pytest.param(FORMS[len(WIDE) :] + VARIANTS, marks=pytest.mark.slow)])
@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**14),
    sizes=sizes,
    offset=st.integers(0, 3),
    choice=st.integers(0, 2**10),
    step=st.integers(1, 10**9),
    beta_1=st.sampled_from([0.0, 0.3, 0.9]),
    beta_2=st.sampled_from([0.0, 0.4, 0.999, 0.99999]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
)
def test_has_the_bits_of_the_rule(forms, seed, sizes, offset, choice, step, beta_1, beta_2, weight_decay, decoupled):
    form = forms[choice % len(forms)]
    k = coefficients(step, beta_1, beta_2, weight_decay, decoupled, form.variant)
    ours = draw(seed, sizes, form, offset)
    expected = copies(ours)
    for tensors in zip(*(column for name, column in ours.items() if name != "key"), strict=True):
        assert cpu.applies(form, tensors)
    by_rule(form, expected, k, step)
    take_step(form, ours, k, 2, step)
    assert_same_bits(ours, expected)


@pytest.mark.parametrize("pool", ["OpenMP", "Python threads"])
@pytest.mark.parametrize("form", [*WIDE, Form("bfloat16", "int8", "compensated")])
def test_has_the_same_bits_for_any_number_of_threads(form, pool, monkeypatch):
    monkeypatch.setattr(pools, "_forked", pool == "Python threads")
    start = draw(0, [1, 1000, 0, 17, 123_457, 5, 200_000], form)
    expected = copies(start)
    take_step(form, expected, coefficients(), threads=1)
    for threads in (2, 3, 7):
        ours = copies(start)
        take_step(form, ours, coefficients(), threads)
        assert_same_bits(ours, expected)


@pytest.mark.parametrize("exact", [False, True])
def test_rows_have_the_bits_of_a_step_of_them_alone_for_any_number_of_threads(exact):
    count, width, number = 1200, 33, 9
    draw_of = np.random.default_rng(0)
    rows = torch.from_numpy(draw_of.permutation(2 * count)[:count])
    last = torch.from_numpy(draw_of.integers(0, number, 2 * count, dtype=np.int32))
    start = {name: column[0].reshape(2 * count, width) for name, column in draw(0, [2 * count * width], Form()).items()}
    k = coefficients()
    alone = {name: value[rows] for name, value in start.items()}
    for name, decay in (("first", k.first_decay), ("second", k.second_decay)) if exact else ():
        alone[name] = rule.faded(alone[name], (number - 1 - last[rows]).float()[:, None], decay, torch)
    take_step(Form(), {name: [value] for name, value in alone.items()}, k, 1, number)
    for threads in (1, 2, 7):
        ours = {name: value.clone() for name, value in start.items()} | {"gradient": start["gradient"][rows]}
        assert cpu.applies_to_rows(Form(), list(ours.values()))
        own = last.clone() if exact else None
        cpu.step_rows(Form(), rows, list(ours.values()), k, threads, number=number, last_step=own)
        for name in ours.keys() - {"gradient"}:
            expected = start[name].clone()
            expected[rows] = alone[name]
            assert torch.equal(ours[name], expected)
        if own is not None:
            assert torch.equal(own, last.index_fill(0, rows, number))


def test_maximize_is_the_step_of_the_opposite_gradient():
    ours = draw(1, [100], Form())
    other = copies(ours)
    take_step(Form(), ours, coefficients(), 1, maximize=True)
    other["gradient"] = [-g for g in other["gradient"]]
    take_step(Form(), other, coefficients(), 1)
    assert_same_bits(ours, {**other, "gradient": ours["gradient"]})


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in FORMS + VARIANTS if form.parameter in rounding.NARROW])
def test_special_parameters_are_rounded_as_in_numpy(form):
    special = [0.0, -0.0, 1.0, torch.inf, -torch.inf, torch.nan, 3.38e38, -3.4e38, 65503.9, 65520.0, 6e-8, -1e-7, 1e-45]
    k = coefficients(variant=form.variant)._replace(step_size=0.0, gradient_share=0.0)
    ours = draw(2, [len(special)], form)
    ours["parameter"] = [torch.tensor(special).to(getattr(torch, form.parameter))]
    expected = copies(ours)
    by_rule(form, expected, k, 3)
    take_step(form, ours, k, 1)
    for name in ours.keys() - {"key"}:
        (x,), (y,) = ours[name], expected[name]
        assert torch.equal(x.isnan(), y.isnan())
        assert torch.equal(x[~x.isnan()], y[~x.isnan()])


@pytest.mark.slow  # compiles a kernel
def test_a_cautious_step_of_special_numbers_is_the_rules():
    """Where the gradient is 0, tiny or not finite, and m too."""
    form = Form(amsgrad=True, variant=Variant(cautious=True))
    special = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, torch.inf, -torch.inf, torch.nan]
    gradient, first = (torch.tensor(x) for x in zip(*itertools.product(special, repeat=2), strict=True))
    for second, k in ((1.0, coefficients(variant=form.variant)), (0.0, coefficients(1, 0.0, variant=form.variant))):
        rest = [torch.full_like(gradient, second)]
        ours = {"parameter": [torch.full_like(gradient, -0.0)], "gradient": [gradient], "first": [first]}
        ours = copies(ours | {"second": rest, "largest": rest})
        expected = copies(ours)
        with np.errstate(all="ignore"):
            by_rule(form, expected, k, 3)
        take_step(form, ours, k, 1)
        (x,), (y,) = ours["parameter"], expected["parameter"]
        assert torch.equal(x.isnan(), y.isnan())
        assert array(x[~x.isnan()]).tobytes() == array(y[~y.isnan()]).tobytes()  # -0.0 is another than 0.0


def test_int8_blocks_of_special_numbers_are_stored_as_in_numpy():
    form, block = Form(moments="int8"), moments.BLOCK
    ours = draw(3, [7 * block + 3], form)
    for name in ("first", "second", "first_scale", "second_scale"):
        ours[name][0].zero_()
    special = [0.0, torch.nan, torch.inf, 1e19, 1e-40, -1e18, 1e-20]
    ours["gradient"] = [torch.cat([torch.cat([torch.full((1,), x), torch.zeros(block - 1)]) for x in special])]
    ours["gradient"][0] = torch.cat([ours["gradient"][0], torch.tensor([1e-30, 0.0, -2.0])])
    expected = copies(ours)
    with np.errstate(all="ignore"):
        by_rule(form, expected, coefficients(1), 1)
    take_step(form, ours, coefficients(1), 1, 1)
    torch.testing.assert_close(ours["parameter"], expected["parameter"], rtol=0, atol=0, equal_nan=True)
    for name in ("first", "second"):
        (scales,) = ours[f"{name}_scale"]
        assert torch.equal(scales, expected[f"{name}_scale"][0])
        finite = (scales != 255).repeat_interleave(block)[: 7 * block + 3]
        assert torch.equal(ours[name][0][finite], expected[name][0][finite])
    assert (ours["first_scale"][0] == 255).nonzero().flatten().tolist() == [1, 2]
    assert ours["first_scale"][0][0] == 0


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_nan_infinity_and_large_gradients_are_stepped_as_in_pytorch(fused, amsgrad):
    special = torch.tensor([0.0, 1.0, torch.inf, -torch.inf, torch.nan, 2e20, -1e-30, 1e-45])
    gradients = [special.roll(shift) for shift in (0, 0, 3)]
    parameter = torch.nn.Parameter(torch.ones(8))
    optimizer = torch.optim.Adam([parameter], amsgrad=amsgrad, fused=fused)
    theta, m, v, largest = torch.ones(8), torch.zeros(8), torch.zeros(8), torch.zeros(8)
    form = Form(amsgrad=amsgrad)
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = gradient.clone()
        optimizer.step()
        k = rule.coefficients(step, 1e-3, rule.Decay.of(0.9), rule.Decay.of(0.999), 1e-8)
        columns = [[theta], [gradient], [m], [v], *([[largest]] if amsgrad else [])]
        cpu.step(form, columns, k, 1)
        torch.testing.assert_close(theta, parameter.data, equal_nan=True)
        expected = optimizer.state[parameter]["exp_avg_sq"]
        torch.testing.assert_close(v, torch.where(expected.isinf(), torch.nan, expected), equal_nan=True)


@pytest.mark.parametrize("form", [Form(), *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:8])])
def test_the_largest_gradients_are_stepped_as_by_the_rule(form):
    """Again and again, so that v reaches the largest number that it may have."""
    huge = [1.8e19, -1.9e19, 4e20, -6e20, 1e30, -3.3e38, 3.3e38]
    ours = draw(4, [moments.BLOCK * len(huge)], form)
    expected = copies(ours)
    for step in range(1, 6):
        for columns in (ours, expected):
            gradient = torch.tensor(huge, dtype=torch.float64).roll(step // 2).repeat_interleave(moments.BLOCK)
            columns["gradient"] = [gradient.to(columns["gradient"][0].dtype)]
        k = coefficients(step, beta_2=0.5)
        by_rule(form, expected, k, step)
        take_step(form, ours, k, 1, step)
        assert_same_bits(ours, expected)
        assert ours["parameter"][0].isfinite().all()


@pytest.mark.slow
def test_the_largest_second_moment_of_int8_does_not_drift():
    """A hundred thousand steps on gradients that stay as they are: the largest v is as large as in float32."""
    generator = torch.Generator().manual_seed(5)
    gradients = torch.randn(1009, moments.MIN_SIZE // 4, generator=generator)
    forms = [Form(moments=name, amsgrad=True) for name in ("float32", "int8")]
    kept = [[[torch.zeros(gradients.shape[1], dtype=dtype)] for dtype in form.columns().values()] for form in forms]
    start, end = torch.randint(0, 1009, (2, 100_000), generator=generator).tolist()
    for step in range(1, 100_001):
        gradient = torch.add(gradients[start[step - 1]], gradients[end[step - 1]])
        for form, columns in zip(forms, kept, strict=True):
            columns[1] = [gradient]
            cpu.step(form, columns, coefficients(step), 1, number=step)
    exact, narrow = (
        columns[list(form.columns()).index("largest")][0].float() for form, columns in zip(forms, kept, strict=True)
    )
    assert abs(float((narrow / exact).mean()) - 1) < 0.06


def test_steps_from_several_python_threads_at_once():
    work = [draw(seed, [50_000, 3], Form()) for seed in range(4)]
    expected = []
    for columns in work:
        single = copies(columns)
        for _ in range(20):
            take_step(Form(), single, coefficients(), 1)
        expected.append(single)

    def run(columns):
        for _ in range(20):
            take_step(Form(), columns, coefficients(), 2)

    threads = [threading.Thread(target=run, args=[columns]) for columns in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for columns, single in zip(work, expected, strict=True):
        assert_same_bits(columns, single)


@pytest.mark.slow
def test_compiling_ahead_covers_every_kernel_of_these_formats():
    cpu.compile_kernels(moment_dtype="bfloat16", parameter_rounding="nearest", lazy=True)
    made = (launch._kernel, launch._rows_kernel)
    before = [kernel.cache_info().misses for kernel in made]
    for dtype, storage in itertools.product(("float32", *rounding.NARROW), ("float32", "bfloat16")):
        for amsgrad in (False, True):
            form = Form(dtype, storage, amsgrad=amsgrad)
            columns = draw(0, [4], form)
            take_step(form, columns, coefficients(), 1)
            cpu.step_rows(form, torch.arange(4), [column[0] for column in columns.values()], coefficients(), 1)
    assert [kernel.cache_info().misses for kernel in made] == before


@pytest.mark.parametrize("option", ["moment_dtype", "parameter_rounding"])
def test_compiling_ahead_refuses_what_there_is_not(option):
    with pytest.raises(ValueError, match=f"{option} must be one of .* Received: {option}='int3'"):
        cpu.compile_kernels(**{option: "int3"})
