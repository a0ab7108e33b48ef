"""What a switch of the rule costs in PyTorch's one-pass CPU kernel: steps with it beside plain Adam's, in turns.

    python -m benchmarks.switches [--quick]

On one thread, in the processor's milliseconds, in which other programs on the machine count less than on a clock. A
pair is one step of each, or as many as 4 M parameters need, in either order, on the same parameter and gradient.
"""

import argparse
import statistics
import time

from benchmarks.report import machine, show, versions, write

SIZES = {"32 M": 32_000_000, "1 M": 1_000_000}
SWITCHES = {
    "none": {},  # how far two of the same lie apart
    "nesterov": {"nesterov": True},
    "nesterov, momentum_decay": {"nesterov": True, "momentum_decay": 0.004},
    "rectified": {"rectified": True},
    "cautious": {"cautious": True},
    "adopt": {"adopt": True},
    "schedule_free": {"schedule_free": True},
    "blockwise": {"blockwise": True},
}
PAIRS, WARM_UPS, AT_ONCE = 200, 4, 4_000_000


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions, and no file")
    quick = parser.parse_args(argv).quick
    rows = [row for size in SIZES for row in _rows(size, PAIRS // 10 if quick else PAIRS)]
    show("A step with a switch on, beside plain Adam's", rows)
    if not quick:
        write("switches", {"machine": machine(), "versions": versions(), "rows": rows})


def _rows(size: str, pairs: int) -> list[dict]:
    import torch

    from adamkit.torch import Adam

    torch.set_num_threads(1)
    count = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    shape = (1000, count // 1000)
    parameter = torch.nn.Parameter(torch.randn(shape, generator=generator))
    parameter.grad = torch.randn(shape, generator=generator)
    rows = []
    for name, options in SWITCHES.items():
        plain, switched = _seconds([Adam([parameter]), Adam([parameter], **options)], max(1, AT_ONCE // count), pairs)
        fast = [statistics.quantiles(taken, n=10)[0] for taken in (switched, plain)]
        rows.append(
            {
                "parameters": size,
                "switch": name,
                "plain_milliseconds": statistics.median(plain) * 1e3,
                "times_plain": statistics.median(one / other for one, other in zip(switched, plain, strict=True)),
                "times_plain_fastest_tenth": fast[0] / fast[1],
            }
        )
    return rows


def _seconds(optimizers: list, inner: int, pairs: int) -> list[list[float]]:
    """The processor's seconds of a step of each, pair by pair."""
    taken: list[list[float]] = [[] for _ in optimizers]
    for turn in range(WARM_UPS + pairs):
        places = range(len(optimizers))
        for place in places if turn % 2 else reversed(places):
            start = time.process_time()
            for _ in range(inner):
                optimizers[place].step()
            if turn >= WARM_UPS:
                taken[place].append((time.process_time() - start) / inner)
    return taken


if __name__ == "__main__":
    main()
