"""How Adam's two moments are stored between steps.

| format     | bytes for both, a parameter | what is kept |
| ---------- | --------------------------- | ------------ |
| `float32`  | 8 | all of it (float64 for float64 parameters: 16 bytes) |
| `bfloat16` | 4 | 8 of 24 significant bits; rounded so that nothing is lost on average |
"""

from typing import Any

from adamkit.rule import Array, Scalar

FORMATS = ("float32", "bfloat16")


def check_format(name: str, value: Any) -> str:
    """`value`, if it is one of `FORMATS`; ValueError otherwise."""
    if value not in FORMATS:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, FORMATS))}. Received: {name}={value!r}")
    return value


def round_to_bfloat16(moment: Array, step: Scalar, ops: Any) -> Array:
    """A float32 moment, rounded to the numbers that bfloat16 has, up or down in turn.

    Rounding to the nearest would freeze v: one step changes it by (1 - β₂) = 0.1 %, and neighbours in bfloat16 are 0.4
    to 0.8 % apart. So a value a quarter of the way between two neighbours is rounded up on a quarter of the steps:
    before it is cut off, the fraction gets an offset that goes through [0, 1) by the golden ratio (Weyl's sequence).
    Its running means come closer to the true mean than those of random numbers do, and it needs no random state.

    Args:
        moment: (…,) float32.
        step: t, a whole number.
        ops: `keras.ops`, or a namespace with its `view`, `where`, `isfinite` and `bitwise_and`.

    Returns:
        (…,) float32, exact in bfloat16. Zero stays zero; NaN and infinity stay as they are.
    """
    offset = ops.bitwise_and(step * 40503, 0xFFFF)  # 40503 = 2¹⁶ / golden ratio, rounded
    bits = ops.bitwise_and(ops.view(moment, "int32") + ops.cast(offset, "int32"), -0x10000)
    return ops.where(ops.isfinite(moment), ops.view(bits, "float32"), moment)
