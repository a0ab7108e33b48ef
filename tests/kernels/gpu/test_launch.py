"""The GPU kernel is the CPU kernel: the same bits, for every form, any sizes and addresses."""

import numpy as np
import pytest
import torch

from adamkit import moments, rounding
from adamkit.kernels import cpu, gpu
from adamkit.kernels.form import Form
from adamkit.kernels.gpu import launch
from adamkit.kernels.gpu.table import ROW, TILE, table
from adamkit.torch.coefficients import coefficients as coefficients_of_group
from adamkit.variants import SWITCHES
from tests.kernels.cases import FORMS as CPU_FORMS
from tests.kernels.cases import assert_same_bits, coefficients, copies, draw

pytestmark = pytest.mark.slow  # seconds, all in all

SEED = 5
FORMS = [form for form in CPU_FORMS if form.parameter != "float64"]
FORMS += [Form("float16", "int8", "compensated8", amsgrad=True, gradient="float32")]
OPTIONS = [  # β₁, β₂, λ, whether it is decoupled, maximize, t
    (0.9, 0.999, 0.0, True, False, 3),
    (0.3, 0.99999, 0.1, True, True, 10**9),
    (0.0, 0.4, 0.1, False, False, 1),
]
CASES = [(form, *OPTIONS[i % len(OPTIONS)]) for i, form in enumerate(FORMS)]
ALIGNED, UNALIGNED = (0, 1, TILE + moments.BLOCK + 4), (TILE + 1, moments.BLOCK - 1)


@pytest.mark.parametrize(
    ("form", "beta_1", "beta_2", "weight_decay", "decoupled", "maximize", "step"), CASES, ids=[x.name() for x in FORMS]
)
def test_has_the_bits_of_the_cpu_kernel(form, beta_1, beta_2, weight_decay, decoupled, maximize, step, device):
    k = coefficients(step, beta_1, beta_2, weight_decay, decoupled)
    aligned, unaligned = draw(1, ALIGNED, form), draw(2, UNALIGNED, form, offset=3)
    ours, expected = for_both({name: aligned[name] + unaligned[name] for name in aligned}, step, device)
    cpu.step(form, list(expected.values()), k, 1, number=step, maximize=maximize)
    gpu.step(form, list(ours.values()), k, number=step, maximize=maximize, seed=SEED)
    assert_same(ours, expected)


@pytest.mark.parametrize(
    "form", [Form(amsgrad=True), Form(moments="int8"), Form("float16", "bfloat16", "compensated8")]
)
def test_nan_and_infinity_propagate_as_on_the_cpu(form, device):
    special = [0.0, -0.0, 1.0, torch.inf, -torch.inf, torch.nan, 1e30, -1e-30, 1e-45, 3.4e38, 65520.0, -6e-8]
    columns = draw(3, [len(special), 2 * moments.BLOCK], form)
    for name, values in (("gradient", special), ("parameter", special[::-1])):
        columns[name][0] = torch.tensor(values).to(columns[name][0].dtype)
    if form.moments == "float32":
        columns["second"][0] = torch.tensor(special[3:] + special[:3]).abs()
    ours, expected = for_both(columns, 3, device)
    for _ in range(2):
        cpu.step(form, list(expected.values()), coefficients(), 1, number=3)
        gpu.step(form, list(ours.values()), coefficients(), number=3, seed=SEED)
    assert_same(without_nan(ours), without_nan(expected))


def test_a_thousand_tensors_of_mixed_sizes_are_one_launch(device, monkeypatch):
    launches, original = [], launch._run
    monkeypatch.setattr(launch, "_run", lambda *arguments: (launches.append(1), original(*arguments)))
    sizes = [i % 7 * (i % 11) * (i % 3) + (TILE if i % 250 == 249 else 0) for i in range(1000)]  # half of them are 0
    ours, expected = for_both(draw(4, sizes, Form()), 3, device)
    cpu.step(Form(), list(expected.values()), coefficients(), 1)
    gpu.step(Form(), list(ours.values()), coefficients())
    assert launches == [1]
    assert_same(ours, expected)


def test_elements_past_2_to_the_31_are_found_and_rounded_by_their_places(device):
    """The table pretends that a tensor is the end of a larger one, which begins 2³¹ elements before it.

    To random bits the places matter in sums modulo 2³² only, so that the CPU kernel has them by another key and step.
    """
    form, before, size, step = Form("bfloat16", "int8", "stochastic"), 2**31, TILE + moments.BLOCK + 7, 3
    ours, expected = for_both(draw(5, [size], form), step, device)
    expected["key"] = [(expected["key"][0] + before + 2**31) % 2**32 - 2**31]
    cpu.step(form, list(expected.values()), coefficients(step), 1, number=step + before)
    addresses = addresses_of(ours)
    for column, (name, (tensor,)) in zip(addresses, ours.items(), strict=True):
        if name != "key":
            elements = before // moments.BLOCK if name.endswith("_scale") else before
            column[0] -= elements * tensor.element_size()
    there = table(form, [size], addresses, torch.device(device))
    there.rows[0, ROW.index("start")] = -before // TILE
    there.rows[0, ROW.index("size")] = before + size
    gpu.step_at(form, there, coefficients(step), number=step, seed=SEED)
    assert_same(ours, expected)


@pytest.mark.parametrize("form", [Form(moments="bfloat16"), Form("float16", "float32", "stochastic")])
def test_steps_that_are_counted_on_the_device_are_those_of_the_host(form, device):
    group = {"lr": torch.tensor(0.01), "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    group |= dict.fromkeys(SWITCHES, False) | {"decoupled_weight_decay": True, "auto": False, "momentum_decay": None}
    sizes, steps = [70, 5], [1, 1000]
    ours, expected = for_both(draw(6, sizes, form), 0, device)
    for place, step in enumerate(steps):
        alone = {name: column[place : place + 1] for name, column in expected.items()}
        if "key" in alone:
            alone["key"] = rounding.random_key(SEED, step, np.array([place], np.int32), np).tolist()
        cpu.step(form, list(alone.values()), coefficients_of_group(group, float(step)), 1, number=step)
    number = torch.tensor(steps, dtype=torch.float64, device=device)
    there = table(form, sizes, addresses_of(ours), torch.device(device))
    gpu.step_at(form, there, coefficients_of_group(group, number, torch), number=number, seed=SEED)
    assert_same(ours, expected)


def for_both(columns, step, device):
    """Columns for the GPU kernel, where "key" is a parameter's place, and for the CPU kernel, where it is its key."""
    ours, expected = on(device, copies(columns)), copies(columns)
    if "key" in columns:
        places = range(len(columns["key"]))
        ours["key"] = list(places)
        expected["key"] = rounding.random_key(SEED, step, np.array(places, np.int32), np).tolist()
    return ours, expected


def on(device, columns):
    return {name: [x if isinstance(x, int) else x.to(device) for x in column] for name, column in columns.items()}


def addresses_of(columns):
    return [[x if isinstance(x, int) else x.data_ptr() for x in column] for column in columns.values()]


def assert_same(ours, expected):
    assert_same_bits({**on("cpu", ours), "key": []}, {**expected, "key": []})


def without_nan(columns):
    """Every NaN as the same one, and the codes of blocks that are NaN as zero: those are free."""
    plain = {}
    for name, column in on("cpu", columns).items():
        plain[name] = column
        if f"{name}_scale" in columns:
            nan = [(x == 255).repeat_interleave(moments.BLOCK) for x in on("cpu", columns)[f"{name}_scale"]]
            plain[name] = [x.masked_fill(where[: x.numel()], 0) for x, where in zip(column, nan, strict=True)]
        elif name != "key" and column[0].is_floating_point():
            plain[name] = [torch.where(x.isnan(), torch.full_like(x, torch.nan), x) for x in column]
    return plain
