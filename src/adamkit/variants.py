"""The switches that make Adam one of its descendants; `rule` has what each does to a step."""

import functools
import itertools
import math
from typing import Any, NamedTuple

Scalar = Any


class Variant(NamedTuple):
    """Which descendants of Adam a step is. They may be combined but for what `check` refuses."""

    nesterov: bool = False  # NAdam: Dozat 2016, "Incorporating Nesterov Momentum into Adam", Algorithm 2
    rectified: bool = False  # RAdam: Liu et al. 2020, arXiv:1908.03265, Algorithm 2
    cautious: bool = False  # Liang et al. 2024, arXiv:2411.16085, Algorithm 1, without its scaling of what remains
    adopt: bool = False  # ADOPT: Taniguchi et al. 2024, arXiv:2411.02853, Algorithm 2, with its clipping
    schedule_free: bool = False  # Defazio et al. 2024, arXiv:2405.15682, Algorithm 1
    blockwise: bool = False  # Adam-mini: Zhang et al. 2024, arXiv:2406.16793, Algorithm 1

    def name(self) -> str:
        """The switches that are on, with hyphens; "" for Adam itself."""
        return "-".join(name for name, on in self._asdict().items() if on)


ADAM = Variant()
SWITCHES = Variant._fields

_REFUSED = {
    ("rectified", "amsgrad"): "it corrects the variance of v, and the largest v has another",
    ("rectified", "blockwise"): "it corrects the variance of v, and the mean over a block has another",
    ("adopt", "amsgrad"): "it divides by the v of the step before and converges without the largest",
    ("adopt", "rectified"): "it has no bias correction, which is what would be rectified",
    ("adopt", "epsilon_hat"): "it has no bias correction, before which ε could be added",
    ("schedule_free", "nesterov"): "it has no m that could look ahead: averaging stands in for momentum",
    ("schedule_free", "rectified"): "its averaging stands in for the warm-up",
    ("schedule_free", "cautious"): "it has no m, so that no step goes with the gradient",
    ("schedule_free", "adopt"): "it has no m that could be the mean of g/√v",
}
LAZY_REFUSED = {  # of `lazy`, and why
    "schedule_free": "each step averages every row",
    "blockwise": "the v of a block is of whole gradients",
    "auto": "its estimate is of whole gradients",
    "int8": "a block is stored as a whole",
    "accumulation": "a sum of gradients has the rows of all of them",
}
_NEEDS = {
    ("rectified", "adaptivity"): "what it rectifies is the division by √v̂",
    ("rectified", "bias_correction"): "it stands in for the warm-up that bias correction alone does not give",
    ("adopt", "adaptivity"): "it is a division by √v",
    ("blockwise", "adaptivity"): "what it averages is v, by whose root nothing is divided then",
}


def check(
    variant: Variant,
    *,
    amsgrad: bool = False,
    epsilon_hat: bool = False,
    bias_correction: bool = True,
    adaptivity: bool = True,
    epsilon: float = 1.0,
) -> Variant:
    """`variant`, if its switches are True or False and go together.

    Raises:
        TypeError: A switch is neither True nor False.
        ValueError: Two of them mean nothing together; the error says why.
    """
    for name, value in variant._asdict().items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False. Received: {name}={value!r} of type {type(value).__name__}")
    on = variant._asdict() | {"amsgrad": amsgrad, "epsilon_hat": epsilon_hat}
    for (name, other), reason in _REFUSED.items():
        if on[name] and on[other]:
            raise ValueError(f"{name}=True does not go with {other}=True: {reason}. Received: both")
    needed = {"bias_correction": bias_correction, "adaptivity": adaptivity}
    for (name, other), reason in _NEEDS.items():
        if on[name] and not needed[other]:
            raise ValueError(f"{name}=True needs {other}=True: {reason}. Received: {other}=False")
    if variant.adopt and isinstance(epsilon, (int, float)) and not epsilon > 0:
        raise ValueError(f"adopt=True needs epsilon > 0: it divides by √v or ε. Received: {epsilon!r}")
    return variant


def check_lazy(name: str, value: Any) -> Any:
    """`value`, if it is True, False or "exact": which rows a sparse gradient steps; TypeError otherwise."""
    if not (isinstance(value, bool) or (isinstance(value, str) and value == "exact")):
        raise TypeError(f"{name} must be True, False or 'exact'. Received: {name}={value!r}")
    return value


def rectification(step: Scalar, complement: Scalar, log: Scalar, xp: Any = math) -> tuple[Scalar, Scalar]:
    """r_t of RAdam, and ρ_t (Liu et al. 2020, eq. 4 and 5); r_t means something where ρ_t > 5.

    ρ_t = ρ∞ - 2t·β₂ᵗ/(1 - β₂ᵗ) is about t in the first steps, a difference of numbers of about 2/(1 - β₂). It is
    computed so that float32 has its digits: as t·(1 - x/6 + x³/360 - …) for small x = -t·log β₂.

    Args:
        step: t >= 1.
        complement: 1 - β₂.
        log: log β₂.
        xp: `math`, or the array namespace of a traced step.
    """
    rate = -log
    longest = 2 / complement - 1  # ρ∞
    x = step * rate
    near = step * (1 - x / 6 + x**3 / 360 - x**5 / 15120)
    if xp is math:
        far = 2 / rate - 2 * step / math.expm1(x) if x < 700 else 2 / rate
        length = longest - 2 / rate + (near if x < 0.25 else far)
        if length <= 5 or longest <= 5:
            return 0.0, min(length, 5.0)
    else:
        far = 2 / rate - 2 * step / xp.expm1(x)
        length = (longest - 2 / rate + xp.where(x < 0.25, near, far)) * (longest > 5)
    usable = length if xp is math else xp.where(length > 5, length, 0 * length + 6)  # a root that is not used is real
    scale = abs((longest - 4) * (longest - 2))
    return xp.sqrt((usable - 4) * (usable - 2) * longest / (scale * usable)), length


def momentum_schedule(step: Scalar, momentum_decay: float, xp: Any = math) -> tuple[Scalar, Scalar, Scalar]:
    """NAdam's schedule: by which share its momentum is below β₁, μ_t = β₁·(1 - ½·0.96^(tψ)) (Dozat 2016).

    The product of all 1 - ½qⁱ, q = 0.96^ψ, is a function of t alone, so that none is kept. Its log is -Σ_k (½)ᵏ/k times
    Σ_i q^(ik) = qᵏ·(1 - q^(tk))/(1 - qᵏ), a polynomial in qᵗ that is 0 at 1. Without that root, 1 - qᵗ, which is an
    expm1, its coefficients are all positive: no digit is lost for any t, in float32 neither.

    Args:
        step: t >= 1.
        momentum_decay: ψ > 0.
        xp: `math`, or the array namespace of a traced step.

    Returns:
        ½qᵗ, ½qᵗ⁺¹, and the log of the product of 1 - ½qⁱ for i = 1 … t.
    """
    rate, factors = _schedule_of(momentum_decay)
    passed = -xp.expm1(-rate * step)  # 1 - qᵗ
    left = 1.0 - passed
    total: Scalar = 0.0
    for factor in factors:
        total = total * left + factor
    return 0.5 * left, 0.5 * math.exp(-rate) * left, -passed * total


@functools.lru_cache
def _schedule_of(momentum_decay: float) -> tuple[float, tuple[float, ...]]:
    """-log q, and the coefficients of that polynomial over 1 - qᵗ, from the highest: sums of (½)ᵏ/k · qᵏ/(1 - qᵏ)."""
    rate = -momentum_decay * math.log(0.96)
    terms = (0.5**k / k * math.exp(-k * rate) / -math.expm1(-k * rate) for k in range(_TERMS, 0, -1))
    return rate, tuple(itertools.accumulate(terms))


_TERMS = 44  # the next is below 2⁻⁵³ of the sum
