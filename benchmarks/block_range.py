"""How far Adam goes with int8 moments where the gradients of a block of 64 differ, and whether other forms go further.

    python -m benchmarks.block_range [--steps 1000]

A table of the share of float32's way that a small element makes beside one with larger gradients in its block, and that
all make on average in blocks whose gradients are of sizes that differ at random. The forms are int8 as it is
(`adamkit.moments`), with smaller blocks for v, and with twice the powers of two for v and half of the numbers in each.
It counts nothing but steps, so that how busy the machine is does not matter.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adamkit import moments, rule
from benchmarks.report import machine, show, versions, write

RATIOS = (1, 50, 181, 400, 1_000, 10_000)
SPREADS = (1.0, 2.0, 3.0)  # standard deviations of the logarithms of the gradients' sizes
BLOCKS = 32  # of 64 elements, side by side
NOISE = 0.5  # of a gradient, beside its mean of 1

Stored = Callable[[NDArray, int], NDArray]


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    steps = parser.parse_args(argv).steps
    rows = []
    for name, (stored, size) in FORMS.items():
        row: dict[str, str | float] = {"form": name, "bytes": size}
        for ratio in RATIOS:
            row[f"beside_{ratio:,}_times"] = _share(_one_large(ratio), stored, steps)[:, 0].mean().item()
        for deviation in SPREADS:
            row[f"spread_{deviation:g}"] = _share(_spread(deviation), stored, steps).mean().item()
        rows.append(row)
    show("Share of the way with float32 moments", rows)
    write("block_range", {"machine": machine(), "versions": versions(), "rows": rows})


def _one_large(ratio: float) -> NDArray:
    """The sizes of the gradients: 1, but for one element a block."""
    sizes = np.ones((BLOCKS, moments.BLOCK), "float32")
    sizes[:, 1] = ratio
    return sizes


def _spread(deviation: float) -> NDArray:
    return np.exp(np.random.default_rng(0).normal(0, deviation, (BLOCKS, moments.BLOCK))).astype("float32")


def _share(sizes: NDArray, stored: Stored, steps: int) -> NDArray:
    """Of the way that each element makes with float32 moments, what it makes with moments stored as `stored` says."""
    rng = np.random.default_rng(1)
    way = {"narrow": np.zeros_like(sizes), "float32": np.zeros_like(sizes)}
    kept = {name: (np.zeros_like(sizes), np.zeros_like(sizes)) for name in way}
    for step in range(1, steps + 1):
        gradient = (sizes * (1 + NOISE * rng.normal(size=sizes.shape))).astype("float32")
        k = rule.coefficients(step, 0.001, rule.Decay.of(0.9), rule.Decay.of(0.999), 1e-8)
        for name, (first, second) in kept.items():
            new = rule.update(way[name], gradient, first, second, None, k, np)
            way[name], first, second = new.parameter, new.first_moment, new.second_moment
            if name == "narrow":
                first = moments.decode_first(*moments.encode_first(first, step, np), np)
                second = stored(second, step)
            kept[name] = first, second
    return way["narrow"] / way["float32"]


def _as_it_is(second: NDArray, step: int) -> NDArray:
    return moments.decode_second(*moments.encode_second(second, step, np), np)


def _in_blocks_of(size: int) -> Stored:
    """Smaller blocks: the same form, where zeros fill a block of 64."""

    def stored(second: NDArray, step: int) -> NDArray:
        parts = second.reshape(-1, size)
        padded = np.pad(parts, ((0, 0), (0, moments.BLOCK - size)))
        return _as_it_is(padded, step)[:, :size].reshape(second.shape)

    return stored


def _with_32_powers(second: NDArray, step: int) -> NDArray:
    """32 powers of two with 8 numbers each, in blocks of 64; what is smaller becomes the smallest number."""
    draw = np.random.default_rng(step).random(second.shape, "float32")
    bits = second.view("int32").astype("int64")
    top = bits.max(axis=1, keepdims=True) >> 23
    rounded = (bits + (draw * (1 << 20)).astype("int64")) >> 20 << 20
    smallest = ((top - 31) << 23) + (1 << 20)
    rounded = np.where(bits == 0, 0, np.maximum(rounded, smallest))
    return rounded.astype("int32").view("float32")


FORMS: dict[str, tuple[Stored, float]] = {
    "int8, as it is": (_as_it_is, 2 + 2 / 64),
    "v in blocks of 32": (_in_blocks_of(32), 2 + 1 / 64 + 1 / 32),
    "v in blocks of 16": (_in_blocks_of(16), 2 + 1 / 64 + 1 / 16),
    "v of 32 powers with 8 numbers": (_with_32_powers, 2 + 2 / 64),
}


if __name__ == "__main__":
    main()
