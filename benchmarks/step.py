"""One step of Adam, side by side: adamkit and its peers on the same tensors, interleaved.

    python -m benchmarks.step [--quick]

Each framework runs in a process of its own, so that no thread pool stands in another's way. In a process the contenders
of one size take turns, so that a slow second hits all of them; given are medians. Ratios are to PyTorch's fused Adam.
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
BYTES_PER_PARAMETER = 28  # θ, g, m and v are read; θ, m and v are written; 4 bytes each


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
    "10 M": [(10_000_000,)],
    "100 M": [(100_000_000,)],
    "GPT-2, 124 M": gpt2_shapes(),
}
QUICK_SIZES = ("1 k", "100 k", "1,000 × 1 k")


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

    def __init__(self, name: str, step: Callable[[], object]) -> None:
        self.name = name
        self.step = step


def _work(worker: str, quick: bool) -> dict:
    """All sizes in this process."""
    rows, left_out = [], {}
    for size in QUICK_SIZES if quick else SIZES:
        tensors = _Tensors(SIZES[size])
        contenders = WORKERS[worker](tensors, left_out)
        inner = max(1, min(50, 2_000_000 // tensors.count // len(tensors.shapes)))
        contenders.append(Contender("in-place pass", tensors.pass_in_place))
        times = _interleaved(contenders, inner, repetitions=3 if quick else 7)
        bandwidth = 32 * tensors.count / times["in-place pass"]
        for name, seconds in times.items():
            if name == "in-place pass":
                continue
            moved = BYTES_PER_PARAMETER * tensors.count / seconds
            rows.append(
                {
                    "size": size,
                    "optimizer": name,
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
    for _ in range(repetitions + 2):
        for contender in contenders:  # in turns
            start = time.perf_counter()
            for _ in range(inner):
                contender.step()
            times[contender.name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(taken[2:]) for name, taken in times.items()}


class _Tensors:
    """Parameters and gradients that the PyTorch contenders of one size share; each has moments of its own."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self.shapes = shapes
        self.parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        for parameter in self.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        self.count = sum(parameter.numel() for parameter in self.parameters)
        self.scratch = torch.zeros(4, self.count)  # as many bytes as θ, g, m and v

    def pass_in_place(self) -> None:
        self.scratch.mul_(1.0)

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
        "bitsandbytes Adam (32 bits)": ("bitsandbytes.optim", "Adam", {}),
        "DeepSpeedCPUAdam": ("deepspeed.ops.adam", "DeepSpeedCPUAdam", {}),
        "pytorch-optimizer StableAdamW": ("pytorch_optimizer", "StableAdamW", {}),
    }
    for name, (module, attribute, options) in peers.items():
        try:
            imported = __import__(module, fromlist=[attribute])
            optimizer = getattr(imported, attribute)(tensors.parameters, **options)
            optimizer.step()
        except Exception as error:
            left_out[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            contenders.append(Contender(name, optimizer.step))
    return contenders


def _optax(tensors: _Tensors, left_out: dict[str, str]) -> list[Contender]:
    import jax
    import optax

    import adamkit.optax

    def contender(name, optimizer):
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

        return Contender(name, run)

    return [
        contender("optax.adam (jit)", optax.adam(1e-3)),
        contender("adamkit.optax.adam (jit)", adamkit.optax.adam(1e-3)),
    ]


def _keras(tensors: _Tensors, left_out: dict[str, str]) -> list[Contender]:
    """Keras's Adam and adamkit's, as `fit` calls them: compiled on JAX and TensorFlow, eager on PyTorch."""
    import keras

    import adamkit.keras

    def contender(name, optimizer):
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

        return Contender(f"{name} ({backend})", run)

    return [
        contender("keras.optimizers.Adam", keras.optimizers.Adam()),
        contender("adamkit.keras.Adam", adamkit.keras.Adam()),
    ]


WORKERS = {"torch": _torch, "optax": _optax, "keras-torch": _keras, "keras-jax": _keras, "keras-tensorflow": _keras}


# The report ----------------------------------------------------------------------------------------------------------


def _table(report: dict) -> Table:
    host = report["machine"]
    table = Table(title=f"One step of Adam, float32, {host['cores']} cores of {host['processor']}")
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
