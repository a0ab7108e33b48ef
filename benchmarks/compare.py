"""Nine optimizers compared: `adamkit.lab.compare` against the same protocol by `keras.Model.fit`.

    python -m benchmarks.compare [--quick]

The task is scikit-learn's digits in `adamkit compare`'s own split, a hidden layer of 64, 10 epochs in batches of 32: 32
settings of each of nine optimizers, and 5 seeds of the 4 best. `fit` would need 9 · (32 + 4 · 5) = 468 trainings of
a model that is built and compiled for each, as its documentation shows. A part of them is measured, 2 of each of three
optimizers in turn, after one that is not counted; `seconds` of `fit` are those of all 468 at that rate, without the
spaces that are widened and without the test part. Both run on Keras's JAX backend, each in a new process, with
everything imported and the data made before the clock starts; adamkit's clock includes compilation, without a cache on
disk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.report import machine, show, versions, write

os.environ.setdefault("KERAS_BACKEND", "jax")

NINE = "adam,adamw,amsgrad,nadam,rmsprop,adagrad,sgd,momentum,lion"
MEASURED = ("adam", "momentum", "rmsprop")  # by `fit`
BUDGET, SEEDS, FINALISTS, EPOCHS, BATCH = 32, 5, 4, 10, 32


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two optimizers, 8 settings")
    parser.add_argument("--worker", choices=("compare", "fit"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        print(json.dumps(_compare(quick=options.quick) if options.worker == "compare" else _fit()))
        return
    names, budget = ("adam,momentum", 8) if options.quick else (NINE, BUDGET)
    trainings = len(names.split(",")) * (budget + FINALISTS * SEEDS)
    ours, theirs = (_work(worker, quick=options.quick) for worker in ("compare", "fit"))
    seconds = theirs["seconds_a_training"] * trainings
    rows = [
        {
            "tool": "keras.Model.fit", "optimizers": len(names.split(",")), "trainings": trainings,
            "measured": theirs["measured"], "seconds": seconds, "times_faster": 1.0,
        },
        {
            "tool": "adamkit.lab.compare", "optimizers": len(names.split(",")), "trainings": ours["trainings"],
            "measured": ours["trainings"], "seconds": ours["seconds"], "times_faster": seconds / ours["seconds"],
        },
    ]  # fmt: skip
    show("Optimizers compared on digits", rows)
    write("compare", {"machine": machine(), "versions": versions(), "rows": rows})


def _work(worker: str, *, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compare", "--worker", worker, *(["--quick"] if quick else [])]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _prepared() -> Any:
    from adamkit.lab import runs

    return runs.prepare(runs.Settings(data="digits", validation_split=0.2, test_split=0.2, epochs=EPOCHS))


def _compare(*, quick: bool) -> dict[str, Any]:
    from adamkit import lab

    compare, prepared = lab.compare, _prepared()
    started = time.perf_counter()
    result = compare(
        prepared.model, prepared.train.x, prepared.train.y, optimizers="adam,momentum" if quick else NINE,
        budget=8 if quick else BUDGET, epochs=EPOCHS, batch_size=BATCH, seeds=SEEDS,
        validation_data=(prepared.validation.x, prepared.validation.y), test_data=(prepared.test.x, prepared.test.y),
    )  # fmt: skip
    result.verdict  # noqa: B018  the figures are part of it
    return {"seconds": time.perf_counter() - started, "trainings": len(result.runs)}


def _fit() -> dict[str, Any]:
    import keras

    from adamkit.lab.comparing.optimizers import named

    prepared = _prepared()
    laps = []
    for name in (MEASURED[0], *MEASURED, *MEASURED):
        model = keras.models.clone_model(prepared.model)
        started = time.perf_counter()
        model.compile(named(name).make(), loss=prepared.record["loss"], metrics=prepared.record["metrics"])
        model.fit(
            prepared.train.x, prepared.train.y, batch_size=BATCH, epochs=EPOCHS, verbose=0,
            validation_data=(prepared.validation.x, prepared.validation.y),
        )  # fmt: skip
        laps.append(time.perf_counter() - started)
    return {"seconds_a_training": statistics.median(laps[1:]), "measured": len(laps) - 1}


if __name__ == "__main__":
    main()
