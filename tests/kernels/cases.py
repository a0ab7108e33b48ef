"""What the tests of all kernels share: forms, tensors stored in them, and the step that a kernel is held to."""

import ml_dtypes
import numpy as np
import torch

from adamkit import arrays, moments, rounding, rule
from adamkit.kernels.form import Form
from adamkit.variants import ADAM, Variant

WIDE = [Form(dtype) for dtype in ("float32", "float64")]
FORMS = [  # not all combinations: each takes a second to compile
    *WIDE,
    Form(amsgrad=True),
    Form(moments="bfloat16"),
    Form(moments="int8"),
    Form(moments="int8", amsgrad=True),
    Form("bfloat16", "float32", "compensated"),
    Form("bfloat16", "int8", "compensated"),
    Form("bfloat16", "float32", "compensated8"),
    Form("bfloat16", "bfloat16", "stochastic", amsgrad=True),
    Form("bfloat16", "float32", "compensated", gradient="float32"),
    Form("bfloat16", "float32", "nearest"),
    Form("float16", "float32", "compensated"),
    Form("float16", "float32", "compensated8"),
    Form("float16", "float32", "stochastic"),
    Form("float16", "float32", "nearest"),
]
VARIANTS = [
    Form(variant=Variant(nesterov=True, rectified=True)),
    Form(amsgrad=True, variant=Variant(cautious=True)),
    Form("bfloat16", "int8", "compensated", variant=Variant(nesterov=True, cautious=True, adopt=True)),
    Form("bfloat16", "int8", "compensated", amsgrad=True, variant=Variant(schedule_free=True)),
]
ELEMENTS = {torch.bfloat16: ml_dtypes.bfloat16, torch.float16: np.float16}


def draw(seed, sizes, form, offset=0):
    """The form's columns for each size, some of them not aligned to a vector; values of many magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    columns = {}
    for name, dtype in form.columns().items():
        columns[name] = column = []
        for number, size in enumerate(sizes):
            wide = torch.randn(offset + size, generator=generator, dtype=torch.float64)
            wide = wide * 10 ** (3 * torch.randn(offset + size, generator=generator, dtype=torch.float64)).clamp(-8, 4)
            if name == "key":
                column.append(seed * 65537 - number)
            elif name.endswith("_scale"):
                column.append(torch.empty(-(-size // moments.BLOCK), dtype=dtype))
            elif name in ("first", "second", "largest"):
                moment = (wide if name == "first" else wide.square()).to(form.arithmetic())[offset:]
                stored = encoded(moment.numpy(), name, form, 1)
                column.append(unaligned(tensor(stored[0]), offset))
            elif name == "remainder":
                column.append(wide.to(dtype)[offset:] if dtype.is_floating_point else (wide * 1e4).to(dtype)[offset:])
            else:
                column.append(wide.to(dtype)[offset:])
    for name in columns:
        if name.endswith("_scale"):  # of these codes any will do, as long as they are no NaN
            for scale in columns[name]:
                scale.random_(100, 140, generator=generator)
    return columns


def unaligned(values, offset):
    return torch.cat([values[:0].new_zeros(offset), values])[offset:]


def array(x):
    """A tensor as an array that shares its memory."""
    return x.view(torch.int16).numpy().view(ELEMENTS[x.dtype]) if x.dtype in ELEMENTS else x.numpy()


def tensor(x):
    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(x))


def copies(columns):
    return {name: [x if isinstance(x, int) else x.clone() for x in column] for name, column in columns.items()}


def coefficients(step=3, beta_1=0.9, beta_2=0.999, weight_decay=0.0, decoupled=True, variant=ADAM):
    first, second = rule.Decay.of(beta_1), rule.Decay.of(beta_2)
    c = 0.3 if variant.schedule_free else 0.0
    return rule.coefficients(
        step, 0.01, first, second, 1e-8, weight_decay, decoupled=decoupled, variant=variant, averaging=c
    )


def encoded(moment, name, form, number):
    """A moment as `moments` stores it, in NumPy."""
    if form.format_of(name) == "bfloat16":
        return (moments.round_to_bfloat16(moment, number, arrays.namespace(np)).astype(ml_dtypes.bfloat16),)
    if form.format_of(name) == "int8":
        return (moments.encode_first if name == "first" else moments.encode_second)(moment, number, np)
    return (moment,)


def by_rule(form, columns, k, number):
    """`rule.update`, `moments` and `rounding` in NumPy, tensor by tensor."""
    for i in range(len(columns["parameter"])):
        held = {name: x[i] if name == "key" else array(x[i]) for name, x in columns.items()}
        theta = held["parameter"]
        if form.parameter in rounding.NARROW:
            theta = rounding.restore(theta, held.get("remainder"), np)
        old = {}
        for name in ("first", "second", "largest"):
            if name in held and form.format_of(name) == "int8":
                decode = moments.decode_first if name == "first" else moments.decode_second
                old[name] = decode(held[name], held[f"{name}_scale"], np)
            elif name in held:
                old[name] = held[name].astype(theta.dtype)
        new = rule.update(
            theta, held["gradient"].astype(theta.dtype), old["first"], old["second"], old.get("largest"), k, xp=np
        )
        written = {}
        for name, moment in zip(old, new[1:], strict=False):
            written.update(zip((name, f"{name}_scale"), encoded(moment, name, form, number), strict=False))
        written["parameter"] = new.parameter
        if form.parameter in rounding.NARROW:
            key = np.array([held.get("key", 0)], np.int64).astype(np.int32)
            written["parameter"], remainder = rounding.store(new.parameter, form.parameter, form.rounding, key, np)
            if remainder is not None:
                written["remainder"] = remainder
        for name, x in written.items():
            columns[name][i] = tensor(x)


def assert_same_bits(actual, expected):
    """Of two steps' columns."""
    assert actual.keys() == expected.keys()
    for name, column in actual.items():
        for ours, theirs in zip(column, expected[name], strict=True):
            same = ours == theirs if isinstance(ours, int) else array(ours).tobytes() == array(theirs).tobytes()
            assert same, (name, ours, theirs)
