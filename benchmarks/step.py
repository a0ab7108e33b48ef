"""One step of Adam, side by side: adamkit and its peers on the same tensors, interleaved.

    python -m benchmarks.step [--quick]

Each framework runs in a process of its own, so that no thread pool stands in another's way. In a process the contenders
of one size take turns, so that a slow second hits all of them; given are medians, of fewer runs where a step takes more
than half a second. Ratios are to PyTorch's fused Adam. Moments and parameters of fewer bytes than float32's, and the
peers that have such, are measured at one large size, and adamkit's on a real model too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks.report import machine, versions, write

FUSED = "torch.optim.Adam (fused)"
FLOAT32 = 28  # bytes moved a parameter: θ, g, m and v are read; θ, m and v are written; 4 bytes each
REPETITIONS, FEW, SLOW = 7, 3, 0.5  # runs that count; those of a contender whose step takes more than so many seconds


def gpt2_shapes() -> list[tuple[int, ...]]:
    """The 148 parameters of the 124 M-parameter GPT-2."""
    width = 768
    block = [(width,), (width,), (width, 3 * width), (3 * width,), (width, width), (width,)]
    block += [(width,), (width,), (width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    return [(50257, width), (1024, width), *block * 12, (width,), (width,)]


SIZES = {
    "1 k": [(1_000,)],
    "100 k": [(100_000,)],
    "1,000 × 1 k": [(1_000,)] * 1_000,
    "32 M": [(32_000_000,)],
    "GPT-2, 124 M": gpt2_shapes(),
}
QUICK_SIZES = ("1 k", "100 k", "1,000 × 1 k")
FORMATS_AT = ("32 M", "GPT-2, 124 M")
PEER_FORMATS_AT = ("32 M",)


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions, in under a minute")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        print(json.dumps(_work(options.worker, options.quick)))
        return
    report = {"machine": machine(), "versions": versions(), "quick": options.quick, "rows": [], "left_out": {}}
    for worker in WORKERS:
        start = time.perf_counter()
        answer = _run_worker(worker, options.quick)
        print(f"{worker}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        report["rows"] += answer["rows"]
        report["left_out"] |= answer["left_out"]
    fused = {row["size"]: row["milliseconds"] for row in report["rows"] if row["optimizer"] == FUSED}
    for row in report["rows"]:
        row["ratio_to_fused"] = row["milliseconds"] / fused[row["size"]]
    Console(width=150).print(_table(report))
    for name, reason in report["left_out"].items():
        print(f"left out: {name}: {reason}")
    write("step", report)


def _run_worker(worker: str, quick: bool) -> dict:
    command = [sys.executable, "-m", "benchmarks.step", "--worker", worker, *(["--quick"] if quick else [])]
    backend = worker.removeprefix("keras-") if worker.startswith("keras-") else "jax"
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line] or ["no message"]
        return {"rows": [], "left_out": {worker: lines[-1]}}
    return json.loads(done.stdout.splitlines()[-1])


# Measuring -----------------------------------------------------------------------------------------------------------


class Contender:
    """A name and a function that does one step and waits for it."""

    def __init__(self, name: str, step: Callable[[], object], moved: float = FLOAT32) -> None:
        self.name = name
        self.step = step
        self.moved = moved  # bytes a parameter that one pass over memory would have to read and write


def _work(worker: str, quick: bool) -> dict:
    """All sizes in this process."""
    rows, left_out = [], {}
    for size in QUICK_SIZES if quick else SIZES:
        tensors = _Tensors(size)
        contenders = WORKERS[worker](tensors, left_out)
        inner = max(1, min(50, 2_000_000 // tensors.count // len(tensors.shapes)))
        contenders.append(Contender("in-place pass", tensors.pass_in_place))
        times = _interleaved(contenders, inner, FEW if quick else REPETITIONS)
        bandwidth = 32 * tensors.count / times["in-place pass"]
        for contender in contenders[:-1]:
            seconds = times[contender.name]
            moved = contender.moved * tensors.count / seconds
            rows.append(
                {
                    "size": size,
                    "optimizer": contender.name,
                    "parameters": tensors.count,
                    "milliseconds": seconds * 1e3,
                    "nanoseconds_a_parameter": seconds * 1e9 / tensors.count,
                    "gigabytes_a_second": moved / 1e9,
                    "share_of_in_place_bandwidth": moved / bandwidth,
                }
            )
    return {"rows": rows, "left_out": left_out}


def _interleaved(contenders: list[Contender], inner: int, repetitions: int) -> dict[str, float]:
    """Median seconds of one step of each, after two rounds that do not count."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(repetitions + 2):
        for contender in contenders:  # in turns
            if turn >= FEW + 2 and times[contender.name][1] * inner > SLOW:
                continue
            start = time.perf_counter()
            for _ in range(inner):
                contender.step()
            times[contender.name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(taken[2:]) for name, taken in times.items()}


class _Tensors:
    """Parameters and gradients that the PyTorch contenders of one size share; each has moments of its own."""

    def __init__(self, size: str) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self.size = size
        self.shapes = shapes = SIZES[size]
        self.parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        for parameter in self.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        self.count = sum(parameter.numel() for parameter in self.parameters)
        self.scratch = torch.zeros(4, self.count)  # as many bytes as θ, g, m and v

    def pass_in_place(self) -> None:
        self.scratch.mul_(1.0)

    def in_bfloat16(self) -> list:
        """The same parameters and gradients in bfloat16."""
        import torch

        narrow = [torch.nn.Parameter(x.detach().bfloat16()) for x in self.parameters]
        for x, wide in zip(narrow, self.parameters, strict=True):
            x.grad = wide.grad.bfloat16()
        return narrow

    def arrays(self):
        return [x.detach().numpy() for x in self.parameters], [x.grad.numpy() for x in self.parameters]


# Contenders, by process ----------------------------------------------------------------------------------------------


def _torch_step(tensors: _Tensors, **options) -> Callable[[], object]:
    import torch

    return torch.optim.Adam(tensors.parameters, **options).step


def _torch(tensors: _Tensors, left_out: dict[str, str]) -> list[Contender]:
    import adamkit.torch

    contenders = [
        Contender(FUSED, _torch_step(tensors, fused=True)),
        Contender("adamkit.torch.Adam", adamkit.torch.Adam(tensors.parameters).step),
        Contender("torch.optim.Adam (default)", _torch_step(tensors)),
        Contender("torch.optim.Adam (foreach)", _torch_step(tensors, foreach=True)),
    ]
    peers = {
        "bitsandbytes Adam (32 bits)": ("bitsandbytes.optim", "Adam", FLOAT32),
        "DeepSpeedCPUAdam": ("deepspeed.ops.adam", "DeepSpeedCPUAdam", FLOAT32),
        "pytorch-optimizer StableAdamW": ("pytorch_optimizer", "StableAdamW", FLOAT32),
    }
    if tensors.size in FORMATS_AT:
        contenders += _torch_formats(tensors)
    if tensors.size in PEER_FORMATS_AT:
        # 12 bytes of θ and g, and each moment read and written: a byte, or half of one, and the scales of its blocks
        peers |= {
            "bitsandbytes Adam8bit": ("bitsandbytes.optim", "Adam8bit", 12 + 4 * (1 + 4 / 256)),
            "torchao AdamW8bit": ("torchao.optim", "AdamW8bit", 12 + 4 * (1 + 4 / 256)),
            "torchao AdamW4bit": ("torchao.optim", "AdamW4bit", 12 + 4 * (0.5 + 4 / 128)),
            "FlashOptim FlashAdamW": ("flashoptim", "FlashAdamW", 12 + 4 * (1 + 2 / 32)),
        }
    for name, (module, attribute, moved) in peers.items():
        try:
            imported = __import__(module, fromlist=[attribute])
            optimizer = getattr(imported, attribute)(tensors.parameters)
            optimizer.step()
        except Exception as error:
            left_out[name] = _reason(error)
        else:
            contenders.append(Contender(name, optimizer.step, moved))
    return contenders


def _torch_formats(tensors: _Tensors) -> list[Contender]:
    """What adamkit stores in fewer bytes."""
    from adamkit import moments
    from adamkit.torch import Adam

    scale = 1 / moments.BLOCK
    narrow = tensors.in_bfloat16()
    wide, own = tensors.parameters, "adamkit.torch.Adam"
    return [
        Contender(f"{own}, bfloat16 moments", Adam(wide, moment_dtype="bfloat16").step, 12 + 8),
        Contender(f"{own}, int8 moments", Adam(wide, moment_dtype="int8").step, 12 + 4 * (1 + scale)),
        Contender(f"{own}, bfloat16 parameters", Adam(narrow).step, 10 + 16),
        Contender(
            f"{own}, bfloat16 parameters, int8 moments", Adam(narrow, moment_dtype="int8").step, 10 + 4 * (1 + scale)
        ),
    ]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _optax(tensors: _Tensors, left_out: dict[str, str]) -> list[Contender]:
    import jax
    import optax

    import adamkit.optax

    def contender(name, optimizer, moved=FLOAT32):
        arrays, gradients = tensors.arrays()
        held = [[jax.numpy.array(x) for x in arrays]]
        gradients = [jax.numpy.array(x) for x in gradients]
        held.append(optimizer.init(held[0]))

        def step(parameters, state, gradients):
            updates, state = optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        compiled = jax.jit(step, donate_argnums=(0, 1))

        def run():
            held[:] = jax.block_until_ready(compiled(*held, gradients))

        return Contender(name, run, moved)

    contenders = [
        contender("optax.adam (jit)", optax.adam(1e-3)),
        contender("adamkit.optax.adam (jit)", adamkit.optax.adam(1e-3)),
    ]
    if tensors.size in PEER_FORMATS_AT:
        for storage, moved in (("bfloat16", 12 + 8), ("int8", 12 + 4)):
            optimizer = adamkit.optax.adam(1e-3, moment_dtype=storage)
            contenders.append(contender(f"adamkit.optax.adam (jit), {storage} moments", optimizer, moved))
    return contenders


def _keras(tensors: _Tensors, left_out: dict[str, str]) -> list[Contender]:
    """Keras's Adam and adamkit's: compiled on JAX, in a graph without XLA on TensorFlow, eager on PyTorch."""
    import keras

    import adamkit.keras

    def contender(name, optimizer, moved=FLOAT32):
        arrays, gradients = tensors.arrays()
        variables = [keras.Variable(x) for x in arrays]
        gradients = [keras.ops.array(x) for x in gradients]
        optimizer.build(variables)
        backend = keras.backend.backend()
        if backend == "jax":
            import jax

            held = [[x.value for x in variables], [x.value for x in optimizer.variables]]
            compiled = jax.jit(lambda x, state, g: optimizer.stateless_apply(state, g, x), donate_argnums=(0, 1))

            def run():
                held[:] = jax.block_until_ready(compiled(*held, gradients))

        elif backend == "tensorflow":
            import tensorflow as tf

            compiled = tf.function(lambda: optimizer.apply(gradients, variables))

            def run():
                compiled()
                optimizer.iterations.numpy()

        else:

            def run():
                optimizer.apply(gradients, variables)

        label, _, storage = name.partition(",")
        return Contender(f"{label} ({backend}){',' if storage else ''}{storage}", run, moved)

    contenders = [
        contender("keras.optimizers.Adam", keras.optimizers.Adam()),
        contender("adamkit.keras.Adam", adamkit.keras.Adam()),
    ]
    if tensors.size in PEER_FORMATS_AT and keras.backend.backend() == "jax":
        for storage, moved in (("bfloat16", 12 + 8), ("int8", 12 + 4)):
            optimizer = adamkit.keras.Adam(moment_dtype=storage)
            contenders.append(contender(f"adamkit.keras.Adam, {storage} moments", optimizer, moved))
    return contenders


WORKERS = {"torch": _torch, "optax": _optax, "keras-torch": _keras, "keras-jax": _keras, "keras-tensorflow": _keras}


# The report ----------------------------------------------------------------------------------------------------------


def _table(report: dict) -> Table:
    host = report["machine"]
    table = Table(title=f"One step of Adam, {host['cores']} cores of {host['processor']}")
    table.add_column("parameters")
    table.add_column("optimizer")
    for heading in ("ms", "ns a parameter", "GB/s", "share of in-place", "ratio to fused"):
        table.add_column(heading, justify="right")
    for size in SIZES:
        rows = [row for row in report["rows"] if row["size"] == size]
        for i, row in enumerate(rows):
            table.add_row(
                size,
                row["optimizer"],
                f"{row['milliseconds']:.3f}",
                f"{row['nanoseconds_a_parameter']:.2f}",
                f"{row['gigabytes_a_second']:.1f}",
                f"{row['share_of_in_place_bandwidth']:.0%}",
                f"{row['ratio_to_fused']:.2f}",
                end_section=i == len(rows) - 1,
            )
    return table


if __name__ == "__main__":
    main()
