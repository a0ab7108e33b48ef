"""Training the example: adamkit against `keras.Model.fit`, and adamkit's Adam inside `fit` against Keras's own.

    python -m benchmarks.train [--quick]

Four questions, each answered by contenders that take turns:

- A first run in a new process, compilation included: one process a run, in turn.
- The same in a second process, which finds adamkit's compiled programs on disk as the commands do, in the same turns.
- A further run in the same process, of the same model, in turn. On TensorFlow and PyTorch it has 10 epochs.
- `model.fit` on each backend with `keras.optimizers.Adam` and with `adamkit.keras.Adam`: a further run, in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from adamkit.lab.training.compiled_programs import keep_on_disk
from benchmarks.report import BACKENDS, machine, show, versions, write

EPOCHS = 50
FEWER_EPOCHS = 10  # of a further run on TensorFlow and on PyTorch, where 50 take seconds
FIT, LAB = "keras.Model.fit, keras Adam", "adamkit.lab.train, adamkit Adam"
FIT_OURS = "keras.Model.fit, adamkit Adam"


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--worker", choices=("first", "further"), help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=(FIT, LAB), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    repetitions = 3 if options.quick else 7
    if options.worker == "first":
        print(json.dumps(_first(options.contender)))
    elif options.worker == "further":
        print(json.dumps(_further(repetitions)))
    else:
        rows = _first_runs(repetitions)
        for backend in BACKENDS:
            further = _work(backend, "--worker", "further", *(["--quick"] if options.quick else []))
            what = "further run" if backend == "jax" else f"further run, {FEWER_EPOCHS} epochs"
            rows += _rows(backend, what, further)
        report = {"machine": machine(), "versions": versions(), "repetitions": repetitions, "rows": rows}
        show("The example: 1000 rows, 50 epochs, batches of 32", rows)
        write("train", report)


def _first_runs(repetitions: int) -> list[dict]:
    """Of processes that find no compiled program, and that find those of one before; `fit` looks for none."""
    new, second = "first run in a process", "second process, programs on disk"
    seconds: dict[str, list[float]] = {FIT: [], new: [], second: []}
    with tempfile.TemporaryDirectory() as folder:
        ways = {FIT: (FIT, "off"), new: (LAB, "off"), second: (LAB, folder)}
        _work("jax", "--worker", "first", "--contender", LAB, cache=folder)  # the first, which is not counted
        for _ in range(repetitions):
            for way, (contender, cache) in ways.items():
                seconds[way].append(_work("jax", "--worker", "first", "--contender", contender, cache=cache))
    return [row for what in (new, second) for row in _rows("jax", what, {FIT: seconds[FIT], LAB: seconds[what]})]


def _rows(backend: str, what: str, seconds: dict[str, list[float]]) -> list[dict]:
    medians = {contender: statistics.median(values) for contender, values in seconds.items()}
    return [
        {
            "backend": backend,
            "what": what,
            "contender": contender,
            "seconds": median,
            "times faster than keras": medians[FIT] / median,
        }
        for contender, median in medians.items()
    ]


def _work(backend: str, *arguments: str, cache: str = "off"):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "ADAMKIT_CACHE": cache}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "benchmarks.train", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _first(contender: str) -> float:
    if contender == LAB:
        keep_on_disk()  # as the commands do
    run = _contender(contender)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _further(repetitions: int) -> dict[str, list[float]]:
    import keras

    contenders = [FIT, FIT_OURS, *([LAB] if keras.backend.backend() == "jax" else [])]
    epochs = EPOCHS if keras.backend.backend() == "jax" else FEWER_EPOCHS
    runs = {contender: _contender(contender, epochs) for contender in contenders}
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(2 + repetitions):
        for contender, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[contender].append(time.perf_counter() - start)
    return {contender: values[2:] for contender, values in seconds.items()}


def _contender(name: str, epochs: int = EPOCHS) -> Callable[[], object]:
    """A run, with everything imported and the model made."""
    import keras
    import numpy as np

    from adamkit.keras import Adam
    from adamkit.lab.training.trainer import train

    if name == LAB:
        from adamkit.lab.training import population  # noqa: F401  imported beforehand, as `fit`'s own modules are
    rng = np.random.default_rng(0)
    x, y = rng.random((1000, 20)).astype("float32"), rng.integers(0, 2, 1000).astype("float32")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((20,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.Adam() if name == FIT else Adam()
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    if name == LAB:
        return lambda: train(model, x, y, epochs=epochs)
    return lambda: model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)


if __name__ == "__main__":
    main()
