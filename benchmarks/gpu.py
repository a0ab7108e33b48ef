"""One step of Adam on a GPU, side by side: adamkit and its peers on the same tensors, interleaved.

    python -m benchmarks.gpu [--quick]

It needs a GPU that PyTorch sees. Times are the device's own, between CUDA events, medians of some turns in which all
contenders of a size step once each; before each step more memory is written than the cache holds, so that nothing of
the step before is left there, for as long as the host needs to launch the step. Each is given as a share of the
bandwidth that a copy on the same device reaches, on the bytes that one pass over memory would have to move. From a
billion parameters on each contender has the memory to itself; what does not fit is left out, and says so.
"""

import argparse
import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from adamkit import moments
from adamkit.torch import Adam
from benchmarks.report import machine, show, versions, write
from benchmarks.step import FLOAT32, FUSED, gpt2_shapes

TURNS, WARM_UP = 20, 3
FLUSHED = 512 * 2**20  # bytes written between steps: several times the largest cache
SCALES = 4 / moments.BLOCK  # bytes moved a parameter for the scales of both moments
EIGHT_BITS = 12 + 4  # θ, g and two moments of a byte, without scales


class Contender(NamedTuple):
    """An optimizer, and what its step moves."""

    name: str
    make: Callable[[], torch.optim.Optimizer]
    moved: float  # bytes a parameter that one pass over memory would have to read and write


def llama_shapes() -> list[tuple[int, ...]]:
    """The 291 parameters of a transformer of 6.7 billion."""
    width, inner = 4096, 11008
    block = [(width, width)] * 4 + [(inner, width)] * 2 + [(width, inner), (width,), (width,)]
    return [(32000, width), *block * 32, (width,), (32000, width)]


SIZES = {
    "1 k": [(1_000,)],
    "1,000 × 1 k": [(1_000,)] * 1_000,
    "100 k": [(100_000,)],
    "10 M": [(10_000_000,)],
    "100 M": [(100_000_000,)],
    "GPT-2, 124 M": gpt2_shapes(),
    "1 B": [(1_000_000_000,)],
    "7 B": llama_shapes(),
}
ALONE = ("1 B", "7 B")
QUICK_SIZES = ("1 k", "1,000 × 1 k", "10 M")
PEERS = {  # name: module, class, bytes moved a parameter
    "bitsandbytes Adam8bit": ("bitsandbytes.optim", "Adam8bit", EIGHT_BITS + 4 * 4 / 256),
    "torchao AdamW8bit": ("torchao.optim", "AdamW8bit", EIGHT_BITS + 4 * 4 / 256),
    "FlashOptim FlashAdamW": ("flashoptim", "FlashAdamW", EIGHT_BITS + 4 * 2 / 32),
}


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sizes, for a look")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu needs a GPU that PyTorch sees. Received: torch.cuda.is_available() is False")
    flushed = torch.empty(FLUSHED // 4, dtype=torch.float32, device="cuda")
    bandwidth = copy_bandwidth(flushed)
    rows, left_out = [], {}
    for size in QUICK_SIZES if options.quick else SIZES:
        try:
            parameters = [torch.nn.Parameter(torch.randn(shape, device="cuda")) for shape in SIZES[size]]
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
        except torch.cuda.OutOfMemoryError as error:
            left_out[size] = reason(error)
            continue
        together = contenders(parameters)
        for some in [[one] for one in together] if size in ALONE else [together]:
            rows += [{"size": size} | row for row in measured(size, some, parameters, flushed, bandwidth, left_out)]
            gc.collect()
            torch.cuda.empty_cache()
    fused = {row["size"]: row["microseconds"] for row in rows if row["optimizer"] == FUSED}
    for row in rows:
        row["ratio_to_fused"] = row["microseconds"] / fused[row["size"]] if row["size"] in fused else float("nan")
    device = torch.cuda.get_device_properties(0)
    gpu = {"gpu": device.name, "gpu_bytes": device.total_memory, "copy_bytes_a_second": bandwidth}
    show(f"One step of Adam on {device.name}, {bandwidth / 1e9:,.0f} GB/s copied", rows)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    write("gpu", {"machine": machine() | gpu, "versions": versions(), "rows": rows, "left_out": left_out})


def measured(
    size: str,
    some: list[Contender],
    parameters: list[torch.nn.Parameter],
    flushed: torch.Tensor,
    bandwidth: float,
    left_out: dict[str, str],
) -> list[dict[str, object]]:
    """A row for each contender that can step these parameters."""
    count = sum(parameter.numel() for parameter in parameters)
    optimizers, flushes = {}, {}
    for contender in some:
        try:
            optimizer = contender.make()
            optimizer.step()
            flushes[contender.name] = flushes_during(optimizer.step, flushed)
        except Exception as error:
            left_out[f"{size}: {contender.name}"] = reason(error)
        else:
            optimizers[contender] = optimizer
    times: dict[str, list[float]] = {contender.name: [] for contender in optimizers}
    for turn in range(TURNS + WARM_UP):
        for contender, optimizer in optimizers.items():
            microseconds = timed(optimizer.step, flushed, flushes[contender.name])
            if turn >= WARM_UP:
                times[contender.name].append(microseconds)
    return [
        {
            "optimizer": contender.name,
            "microseconds": (microseconds := statistics.median(times[contender.name])),
            "share_of_copy_bandwidth": contender.moved * count / (microseconds * 1e-6) / bandwidth,
            "state_bytes_a_parameter": state_bytes(optimizer) / count,
            "launches": launches(optimizer.step),
        }
        for contender, optimizer in optimizers.items()
    ]


def contenders(parameters: list[torch.nn.Parameter]) -> list[Contender]:
    """All that are measured, each with a state of its own."""
    ours = "adamkit.torch.Adam"

    def narrow(**options: str) -> torch.optim.Optimizer:
        copies = [torch.nn.Parameter(x.detach().bfloat16()) for x in parameters]
        for x, wide in zip(copies, parameters, strict=True):
            x.grad = wide.grad.bfloat16()
        return Adam(copies, **options)

    def peer(module: str, attribute: str) -> Callable[[], torch.optim.Optimizer]:
        return lambda: getattr(importlib.import_module(module), attribute)(parameters)

    return [
        Contender(FUSED, lambda: torch.optim.Adam(parameters, fused=True), FLOAT32),
        Contender("torch.optim.Adam (foreach)", lambda: torch.optim.Adam(parameters, foreach=True), FLOAT32),
        Contender(ours, lambda: Adam(parameters), FLOAT32),
        Contender(f"{ours} (capturable)", lambda: Adam(parameters, capturable=True), FLOAT32),
        Contender(f"{ours}, bfloat16 moments", lambda: Adam(parameters, moment_dtype="bfloat16"), 12 + 8),
        Contender(f"{ours}, int8 moments", lambda: Adam(parameters, moment_dtype="int8"), EIGHT_BITS + SCALES),
        Contender(f"{ours}, bfloat16 parameters", narrow, 10 + 16),
        Contender(f"{ours}, bfloat16 parameters, int8 moments", lambda: narrow(moment_dtype="int8"), 10 + 4 + SCALES),
        *(Contender(name, peer(module, attribute), moved) for name, (module, attribute, moved) in PEERS.items()),
    ]


def timed(step: Callable[[], object], flushed: torch.Tensor, flushes: int = 1) -> float:
    """Microseconds of one step on the device, with a cold cache; the host launches it while the cache is flushed."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(flushes):
        flushed.fill_(1.0)
    begin.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e3


def flushes_during(step: Callable[[], object], flushed: torch.Tensor) -> int:
    """How often the cache is flushed in twice the time that the host needs for a step, and once more."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    step()
    host = time.perf_counter() - begin
    return 1 + int(2 * host / (timed(lambda: flushed.fill_(1.0), flushed) * 1e-6))


def copy_bandwidth(memory: torch.Tensor) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    half = len(memory) // 2
    source, target = memory[:half], memory[half:]
    taken = [timed(lambda: target.copy_(source), memory) for _ in range(TURNS + WARM_UP)][WARM_UP:]
    return 2 * 4 * half / (statistics.median(taken) * 1e-6)


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def launches(step: Callable[[], object]) -> int:
    """Kernels that one step launches."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events())


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Of all tensors of the state that are on the device."""
    tensors = (x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor))
    return sum(x.numel() * x.element_size() for x in tensors if x.is_cuda)


if __name__ == "__main__":
    main()
