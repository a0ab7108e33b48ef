"""A step over an embedding of which a batch touches few rows: of these rows alone, and of all, in turns.

    python -m benchmarks.lazy [--rows 1000000] [--touched 1000]

PyTorch, and Keras on each backend (each in a process of its own), with `lazy=True` and `lazy="exact"` and a sparse
gradient, and with a dense one. Given are medians of the processor's milliseconds on one thread, in which other programs
on the machine count less than on a clock, and their ratios.

Lazy steps come eight in a row, as in a training, each with other rows, drawn at random: such rows lie in no near cache,
but code does. (A dense step before each would evict the interpreter too, which no training with lazy steps does.) A
gradient is what the backward pass of a look-up makes of a batch, which itself is not counted: its rows are not sorted
yet, and on PyTorch and JAX still to be brought into the form in which they are stepped. All that is part of the step.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import machine, show, versions, write

WIDTH = 64
REPETITIONS, WARM_UPS = 7, 2
STEPS = 8  # lazy ones in a row
WAYS = (True, "exact", False)


class Contender(NamedTuple):
    """One way to step a table of its own."""

    gradient: Callable[[int], Any]  # of a seed
    step: Callable[[Any], object]
    steps: int  # in a row


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


def _gradient(rows: int, touched: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) rows, in the order of a batch, and (n, width) numbers."""
    draw = np.random.default_rng(seed)
    return draw.choice(rows, touched, replace=False), draw.normal(size=(touched, WIDTH)).astype("float32")


def _start(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, WIDTH)).astype("float32")


def _torch(rows: int, touched: int) -> list[Contender]:
    import torch

    from adamkit.torch import Adam

    torch.set_num_threads(1)

    def contender(lazy: bool | str) -> Contender:
        table = torch.nn.Parameter(torch.from_numpy(_start(rows)))
        optimizer = Adam([table], lazy=lazy)

        def step(gradient: Any) -> None:
            table.grad = gradient
            optimizer.step()

        return Contender(lambda seed: _of_torch(rows, touched, seed, lazy), step, STEPS if lazy else 1)

    return [contender(lazy) for lazy in WAYS]


def _keras_on_torch(rows: int, touched: int) -> list[Contender]:
    import keras
    import torch

    from adamkit.keras import Adam

    torch.set_num_threads(1)

    def contender(lazy: bool | str) -> Contender:
        table = keras.Variable(_start(rows))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])
        step = torch.no_grad()(lambda gradient: optimizer.apply([gradient], [table]))
        return Contender(lambda seed: _of_torch(rows, touched, seed, lazy), step, STEPS if lazy else 1)

    return [contender(lazy) for lazy in WAYS]


def _of_torch(rows: int, touched: int, seed: int, lazy: bool | str) -> Any:
    import torch

    places, values = map(torch.from_numpy, _gradient(rows, touched, seed))
    sparse = torch.sparse_coo_tensor(places[None], values, (rows, WIDTH), check_invariants=True)
    return sparse if lazy else sparse.to_dense()


def _keras_on_tensorflow(rows: int, touched: int) -> list[Contender]:
    import keras
    import tensorflow as tf

    from adamkit.keras import Adam

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def contender(lazy: bool | str) -> Contender:
        table = keras.Variable(_start(rows))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])

        def gradient(seed: int) -> Any:
            places, values = _gradient(rows, touched, seed)
            sparse = tf.IndexedSlices(tf.constant(values), tf.constant(places), tf.constant([rows, WIDTH]))
            return sparse if lazy else tf.convert_to_tensor(sparse)

        # Not `jit_compile`: a program of XLA would hold the dense gradient as a constant.
        step = tf.function(lambda given: optimizer.apply([given], [table]), autograph=False)
        return Contender(gradient, step, STEPS if lazy else 1)

    return [contender(lazy) for lazy in WAYS]


def _keras_on_jax(rows: int, touched: int) -> list[Contender]:
    import jax
    import keras

    from adamkit.keras import Adam
    from adamkit.keras.lookups_on_jax import Lookup, Table, rows_of_a_table

    def contender(lazy: bool | str) -> Contender:
        table = keras.Variable(_start(rows))
        optimizer = Adam(lazy=lazy)
        optimizer.build([table])

        def gradient(seed: int) -> Any:
            places, values = map(jax.numpy.asarray, _gradient(rows, touched, seed))
            if not lazy:
                return jax.block_until_ready(jax.numpy.zeros((rows, WIDTH)).at[places].set(values))
            zeros = Lookup(jax.numpy.zeros_like(values), jax.numpy.zeros((2, touched)))
            _, derivative = jax.vjp(functools.partial(rows_of_a_table, held[0][0], places), zeros)
            return jax.block_until_ready(derivative(values)[0])

        def apply(variables: list, state: list, given: Any) -> tuple[list, list]:
            gradient = Table(variables[0], (given,)) if lazy else given
            return optimizer.stateless_apply(state, [gradient], variables)

        compiled = jax.jit(apply, donate_argnums=(0, 1))  # as `fit` compiles its steps
        held = [[table.value], [variable.value for variable in optimizer.variables]]

        def step(given: Any) -> None:
            held[:] = compiled(*held, given)
            jax.block_until_ready(held)

        return Contender(gradient, step, STEPS if lazy else 1)

    return [contender(lazy) for lazy in WAYS]


def _interleaved(contenders: list[Contender]) -> list[float]:
    """Medians of the processor's seconds of a step of each."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(WARM_UPS + REPETITIONS):
        for contender, own in zip(contenders, times, strict=True):
            for gradient in [contender.gradient(turn * STEPS + i) for i in range(contender.steps)]:
                start = time.process_time()
                contender.step(gradient)
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
