"""What an Optuna sampler finds in `lab.tune`, beside as many settings of a Sobol sequence. Takes a few minutes.

    python -m benchmarks.tune [--quick]

Each repeat is 128 settings of η, β₁, β₂ and ε from one start, and both searches see the same rows: the smallest
validation loss after 10 epochs counts. `better_in` are the repeats, of ten, in which the sampler found a smaller one,
and `ratio` is the median of its loss over the sequence's.
"""

import argparse
import os
import statistics
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import optuna

from adamkit import lab
from adamkit.lab import runs, spaces
from benchmarks.report import machine, show, update_page, versions, write

SPACE = {"learning_rate": "1e-5..1", "beta_1": "0..0.99", "beta_2": "0.5..0.9999", "epsilon": "1e-10..1"}
DATA, SETTINGS, BATCH, EPOCHS, REPEATS = ("digits", "breast_cancer", "diabetes"), 128, 32, 10, 10


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one set of data and two repeats; nothing is written")
    quick = parser.parse_args(argv).quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = [_row(data, 2 if quick else REPEATS) for data in DATA[: 1 if quick else None]]
    show(f"The best of {SETTINGS} settings", rows)
    if not quick:
        write("tune", {"machine": machine(), "versions": versions(), "rows": rows})
        update_page()


def _row(data: str, repeats: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {"sobol": [], "tpe": []}
    for seed in range(repeats):
        keras.utils.set_random_seed(seed)
        prepared = runs.prepare(runs.Settings(data=data, validation_split=0.3, epochs=EPOCHS, seed=seed))
        model, rows = prepared.model, (prepared.train.x, prepared.train.y)
        options = {
            "epochs": EPOCHS, "batch_size": 32, "seed": seed,
            "validation_data": (prepared.validation.x, prepared.validation.y),
        }  # fmt: skip
        for name in found:
            found[name].append(_best(name, model, rows, seed, options))
    pairs = list(zip(found["tpe"], found["sobol"], strict=True))
    return {
        "data": data,
        "sobol": statistics.median(found["sobol"]),
        "tpe": statistics.median(found["tpe"]),
        "ratio": statistics.median(a / b for a, b in pairs),
        "better_in": float(sum(a < b for a, b in pairs)),
    }


def _best(name: str, model: keras.Model, rows: tuple, seed: int, options: dict[str, Any]) -> float:
    if name == "sobol":
        result = lab.sweep(model, *rows, space=spaces.draw(SPACE, SETTINGS, seed=seed), **options)
    else:
        result = lab.tune(model, *rows, space=SPACE, n=SETTINGS, batch=BATCH, **options)
    return float(result.best()["mean"][0])


if __name__ == "__main__":
    main()
