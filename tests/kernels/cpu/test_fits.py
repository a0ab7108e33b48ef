"""The kernel takes dense real tensors on the CPU, and no other."""

import pytest
import torch

from adamkit import moments
from adamkit.kernels import cpu
from adamkit.kernels.cpu import Form


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: torch.ones(3, 4), True),
        (lambda: torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), True),
        (lambda: torch.ones(3, 4).t(), False),
        (lambda: torch.ones(8)[::2], False),
        (lambda: torch.ones(1).expand(4), False),
        (lambda: torch.ones(3, dtype=torch.bfloat16), True),
        (lambda: torch.ones(3, dtype=torch.float64), True),
        (lambda: torch.ones(3, dtype=torch.int32), False),
        (lambda: torch.ones(3, dtype=torch.float8_e5m2), False),
        (lambda: torch.ones(3, dtype=torch.complex64), False),
        (lambda: torch.ones(3, 4).to_sparse(), False),
        (lambda: torch.ones(3, device="meta"), False),
        (lambda: torch.imag(torch.ones(3, dtype=torch.complex64).conj()), False),
    ],
)
def test_applies_to_dense_real_tensors_only(make, expected):
    moment = torch.ones(make().shape, dtype=torch.float64 if make().dtype == torch.float64 else torch.float32)
    if make().dim() == 4:
        moment = moment.to(memory_format=torch.channels_last)
    tensors = [make(), make(), moment, moment]
    assert cpu.applies(Form(str(make().dtype).removeprefix("torch.")), tensors) is expected


def test_does_not_apply_to_tensors_of_different_layouts_or_dtypes():
    one = torch.ones(2, 3, 4, 5)
    assert cpu.applies(Form(), [one, one, one, one])
    for other in (one.to(memory_format=torch.channels_last), one.double(), one[:1]):
        assert not cpu.applies(Form(), [one, one, one, other])
    codes = torch.zeros(128, 128, 1, 1, dtype=torch.uint8)
    scales = torch.zeros(128 * 128 // moments.BLOCK, dtype=torch.uint8)
    for layout, expected in ((torch.contiguous_format, True), (torch.channels_last, False)):
        x = torch.ones(128, 64, 1, 2).contiguous(memory_format=layout)
        codes = torch.zeros(128, 64, 1, 2, dtype=torch.uint8)
        assert cpu.applies(Form(moments="int8"), [x, x, codes, codes, scales, scales]) is expected
    x = torch.ones(100)
    codes = torch.zeros(100, dtype=torch.uint8)
    assert not cpu.applies(Form(moments="int8"), [x, x, codes, codes, scales, scales])
