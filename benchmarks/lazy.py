"""A step over an embedding of which a batch touches few rows: of these rows alone, and of all, in turns.

    python -m benchmarks.lazy [--rows 1000000] [--touched 1000]

PyTorch, and Keras on each backend (each in a process of its own), with `lazy=True` and `lazy="exact"` and a sparse
gradient, and with a dense one. Given are medians of the processor's milliseconds on one thread, in which other programs
on the machine count less than on a clock, and their ratios. Making the gradient is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.report import machine, show, versions, write

WIDTH = 64
REPETITIONS, WARM_UPS = 7, 2
WAYS = (True, "exact", False)


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--touched", type=int, default=1_000)
    parser.add_argument("--only", choices=CONTENDERS, help="print the seconds of one as JSON, and no table")
    options = parser.parse_args(argv)
    if options.only:
        print(json.dumps(_interleaved(CONTENDERS[options.only](options.rows, options.touched))))
        return
    rows = []
    for name in CONTENDERS:
        command = [sys.executable, "-m", "benchmarks.lazy", "--only", name]
        command += ["--rows", str(options.rows), "--touched", str(options.touched)]
        environment = os.environ | _ONE_THREAD | {"KERAS_BACKEND": name.rpartition(" ")[2].lower().replace("py", "")}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        lazy, exact, dense = json.loads(output.splitlines()[-1])
        milliseconds = {f"{way}_milliseconds": seconds * 1e3 for way, seconds in (("lazy", lazy), ("exact", exact))}
        milliseconds["dense_milliseconds"] = dense * 1e3
        faster = {"times_faster": dense / lazy, "times_faster_if_exact": dense / exact}
        rows.append({"optimizer": name, **milliseconds, **faster})
    title = f"A step over {options.rows:,} × {WIDTH}, {options.touched:,} rows touched"
    show(title, rows)
    write("lazy", {"machine": machine(), "versions": versions(), "rows": rows})


def _gradient(rows: int, touched: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) rows and (n, width) numbers."""
    places = np.random.default_rng(0).choice(rows, touched, replace=False)
    return np.sort(places), np.random.default_rng(1).normal(size=(touched, WIDTH)).astype("float32")


def _torch(rows: int, touched: int) -> list[Callable[[], object]]:
    import torch

    from adamkit.torch import Adam

    torch.set_num_threads(1)

    def step(lazy: bool | str) -> Callable[[], object]:
        table = torch.nn.Parameter(torch.zeros(rows, WIDTH))
        optimizer = Adam([table], lazy=lazy)
        gradient = _sparse_of_torch(rows, touched)
        table.grad = gradient if lazy else gradient.to_dense()
        return optimizer.step

    return [step(lazy) for lazy in WAYS]


def _keras_on_torch(rows: int, touched: int) -> list[Callable[[], object]]:
    import keras
    import torch

    from adamkit.keras import Adam

    torch.set_num_threads(1)

    def step(lazy: bool | str) -> Callable[[], object]:
        table = keras.Variable(np.zeros((rows, WIDTH), "float32"))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])
        sparse = _sparse_of_torch(rows, touched)
        gradient = sparse if lazy else sparse.to_dense()
        return torch.no_grad()(lambda: optimizer.apply([gradient], [table]))

    return [step(lazy) for lazy in WAYS]


def _sparse_of_torch(rows: int, touched: int) -> object:
    import torch

    places, values = map(torch.from_numpy, _gradient(rows, touched))
    return torch.sparse_coo_tensor(places[None], values, (rows, WIDTH), check_invariants=True).coalesce()


def _keras_on_tensorflow(rows: int, touched: int) -> list[Callable[[], object]]:
    import keras
    import tensorflow as tf

    from adamkit.keras import Adam

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    places, values = _gradient(rows, touched)

    def step(lazy: bool | str) -> Callable[[], object]:
        table = keras.Variable(np.zeros((rows, WIDTH), "float32"))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])
        gradient: object = tf.IndexedSlices(tf.constant(values), tf.constant(places), tf.constant([rows, WIDTH]))
        gradient = gradient if lazy else tf.convert_to_tensor(gradient)
        # Not `jit_compile`: a program of XLA would hold the dense gradient as a constant.
        apply = tf.function(lambda given: optimizer.apply([given], [table]), autograph=False)
        return lambda: apply(gradient)

    return [step(lazy) for lazy in WAYS]


def _keras_on_jax(rows: int, touched: int) -> list[Callable[[], object]]:
    import jax
    import keras

    from adamkit.keras import Adam
    from adamkit.keras.sparse import Rows

    places, values = _gradient(rows, touched)
    whole = np.zeros((rows, WIDTH), "float32")
    whole[places] = values

    def step(lazy: bool | str) -> Callable[[], object]:
        table = keras.Variable(np.zeros((rows, WIDTH), "float32"))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])
        given = [jax.numpy.asarray(one) for one in ((values, places.astype("int32")) if lazy else (whole,))]

        def apply(variables: list, state: list, given: list) -> tuple[list, list]:
            gradient = Rows(*given, (rows, WIDTH)) if lazy else given[0]
            return optimizer.stateless_apply(state, [gradient], variables)

        compiled = jax.jit(apply, donate_argnums=(0, 1))  # as `fit` compiles its steps
        held = [[table.value], [variable.value for variable in optimizer.variables]]

        def run() -> None:
            held[:] = compiled(*held, given)
            jax.block_until_ready(held)

        return run

    return [step(lazy) for lazy in WAYS]


def _interleaved(steps: list[Callable[[], object]]) -> list[float]:
    """Medians of the processor's seconds of each."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(WARM_UPS + REPETITIONS):
        for step, own in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            if turn >= WARM_UPS:
                own.append(time.process_time() - start)
    return [statistics.median(own) for own in times]


CONTENDERS = {
    "PyTorch": _torch,
    "Keras on JAX": _keras_on_jax,
    "Keras on TensorFlow": _keras_on_tensorflow,
    "Keras on PyTorch": _keras_on_torch,
}
_ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count=1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


if __name__ == "__main__":
    main()
