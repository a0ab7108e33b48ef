"""A step over an embedding of which a batch touches few rows: of these rows alone, and of all, in turns.

    python -m benchmarks.lazy [--rows 1000000] [--touched 1000]

PyTorch, and Keras on TensorFlow, each with `lazy=True` and a sparse gradient, and with a dense one. Given are medians
of the processor's milliseconds on one thread, in which other programs on the machine count less than on a clock, and
their ratio. Making the gradient is not counted.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.report import machine, show, versions, write

WIDTH = 64
REPETITIONS, WARM_UPS = 7, 2


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--touched", type=int, default=1_000)
    options = parser.parse_args(argv)
    touched = np.random.default_rng(0).choice(options.rows, options.touched, replace=False)
    values = np.random.default_rng(1).normal(size=(options.touched, WIDTH)).astype("float32")
    rows = []
    for name, steps in CONTENDERS.items():
        lazy, dense = _interleaved(steps(options.rows, touched, values))
        milliseconds = {"lazy_milliseconds": lazy * 1e3, "dense_milliseconds": dense * 1e3}
        rows.append({"optimizer": name, **milliseconds, "times_faster": dense / lazy})
    title = f"A step over {options.rows:,} × {WIDTH}, {options.touched:,} rows touched"
    show(title, rows)
    write("lazy", {"machine": machine(), "versions": versions(), "rows": rows})


def _keras(rows: int, touched: np.ndarray, values: np.ndarray) -> list[Callable[[], object]]:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    from adamkit.keras import Adam

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def step(lazy: bool) -> Callable[[], object]:
        table = keras.Variable(np.zeros((rows, WIDTH), "float32"))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])
        gradient: object = tf.IndexedSlices(tf.constant(values), tf.constant(touched), tf.constant([rows, WIDTH]))
        gradient = gradient if lazy else tf.convert_to_tensor(gradient)
        # Not `jit_compile`: a program of XLA would hold the dense gradient as a constant.
        apply = tf.function(lambda given: optimizer.apply([given], [table]), autograph=False)
        return lambda: apply(gradient)

    return [step(True), step(False)]


def _torch(rows: int, touched: np.ndarray, values: np.ndarray) -> list[Callable[[], object]]:
    import torch

    from adamkit.torch import Adam

    torch.set_num_threads(1)

    def step(lazy: bool) -> Callable[[], object]:
        table = torch.nn.Parameter(torch.zeros(rows, WIDTH))
        optimizer = Adam([table], lazy=lazy)
        indices = torch.from_numpy(touched)[None]
        given = torch.sparse_coo_tensor(indices, torch.from_numpy(values), table.shape, check_invariants=True)
        table.grad = given.coalesce() if lazy else given.to_dense()
        return optimizer.step

    return [step(True), step(False)]


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


# PyTorch first: its optimizers import Triton, which must not come after TensorFlow.
CONTENDERS = {"PyTorch": _torch, "Keras on TensorFlow": _keras}


if __name__ == "__main__":
    main()
