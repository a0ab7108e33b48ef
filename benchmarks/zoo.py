"""Many kinds of models: `lab.train` and `lab.sweep` of 32 learning rates, beside `keras.Model.fit`, in one process.

    python -m benchmarks.zoo [--quick] [--only WORDS]

- `fit_cold` is a new model's first `fit`, with compilation; `fit_warm` further ones of the same model, reset by hand
  between: what no user of a tuner has, and the least that Keras takes.
- `train` is `lab.train`, and `sweep` is `lab.sweep` by the setting, both without compilation; `sweep_cold` is the first
  sweep of a model, with compilation, by the setting. `train_times` and `sweep_times` are `fit_warm` over them. Warm
  ones are medians of runs in turn, fit, train and sweep, so that what else the machine does meets all of them.
- `at_once` says how many settings the sweep trained together; 1 is one after the other on each core.
- `differs` is how far the loss of the last epoch is from `fit`'s, relative, the larger of train's and the sweep's.
  `chance` is how far `fit` is from itself when the initial weights change by the last bit of a float32: a model with
  a large one turns rounding into differences of that size, whatever trains it.
"""

import argparse
import gc
import os
import statistics
import sys
import time
import traceback
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras
import numpy as np

from adamkit import lab
from adamkit.keras import Adam
from adamkit.keras.internals import build_for
from benchmarks.report import machine, show, update_page, versions, write
from benchmarks.zoo_models import KINDS, Kind

RATE, BATCH, SETTINGS = 0.001, 32, 32
ROUNDS, ENOUGH = 5, 4.0  # runs of each, fewer when they have taken so many seconds


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 settings and one run of each; nothing is written")
    parser.add_argument("--only", default="", help="the kinds with these words in their name; nothing is written")
    options = parser.parse_args(argv)
    rows, failed = [], []
    for kind in KINDS:
        if options.only not in kind.name:
            continue
        try:
            rows.append(_row(kind, quick=options.quick))
            print(*(f"{v:.3g}" if isinstance(v, float) else v for v in rows[-1].values()), sep="  ", flush=True)
        except Exception:  # one kind must not cost the others' minutes
            traceback.print_exc()
            failed.append(kind.name)
        jax.clear_caches()
        gc.collect()
    if rows:
        show("Kinds of models, seconds by the setting", rows)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    if not (options.quick or options.only):
        write("zoo", {"machine": machine(), "versions": versions(), "rows": rows})
        update_page()


def _row(kind: Kind, *, quick: bool) -> dict[str, Any]:
    x, y = kind.data(np.random.default_rng(0))
    settings = 4 if quick else SETTINGS
    rates = [RATE, *np.geomspace(1e-4, 1e-2, settings - 1).tolist()]

    def made(optimizer: Any) -> tuple[keras.Model, list[np.ndarray]]:
        keras.utils.set_random_seed(3)
        model = kind.build()
        model.compile(optimizer=optimizer, loss=kind.loss, metrics=kind.metrics)
        build_for(model, jax.tree.map(lambda rows: rows[:1], (x, y, None)))
        return model, [np.array(v.value) for v in _variables(model)]

    def fit() -> float:
        history = fitted.fit(x, y, epochs=kind.epochs, batch_size=BATCH, shuffle=False, verbose=0)
        return history.history["loss"][-1]

    def train() -> float:
        result = lab.train(trained, x, y, epochs=kind.epochs, batch_size=BATCH, shuffle=False)
        return result.history.loss.iloc[-1]

    def sweep() -> Any:
        space = {"learning_rate": rates}
        return lab.sweep(swept, x, y, space=space, epochs=kind.epochs, batch_size=BATCH, shuffle=False)

    started = time.perf_counter()
    fitted, start = made(keras.optimizers.Adam(RATE))
    loss = fit()
    fit_cold = time.perf_counter() - started
    trained, train_start = made(Adam(RATE, epsilon_hat=True))
    train_loss = train()
    started = time.perf_counter()
    swept, _ = made(Adam(RATE, epsilon_hat=True))
    result = sweep()
    sweep_cold = time.perf_counter() - started
    seconds: dict[str, list[float]] = {"fit": [], "train": [], "sweep": []}
    while len(seconds["fit"]) < (1 if quick else ROUNDS) and sum(map(sum, seconds.values())) < ENOUGH:
        for name, run, model, weights in (
            ("fit", fit, fitted, start), ("train", train, trained, train_start), ("sweep", sweep, swept, None)
        ):  # fmt: skip
            if weights is not None:
                _assign(model, weights)
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    _assign(fitted, _shaken(start))
    chance = abs(fit() / loss - 1)
    warm, train_warm, sweep_warm = (statistics.median(times) for times in seconds.values())
    sweep_warm /= settings
    sweep_loss = result.history.loss[result.history.setting == 0].iloc[-1]
    return {
        "model": kind.name,
        "parameters": sum(int(np.prod(v.shape)) for v in fitted.trainable_variables),
        "fit_cold": fit_cold,
        "fit_warm": warm,
        "train": train_warm,
        "train_times": warm / train_warm,
        "sweep_cold": sweep_cold / settings,
        "sweep": sweep_warm,
        "sweep_times": warm / sweep_warm,
        "at_once": result.at_once,
        "differs": f"{max(abs(train_loss / loss - 1), abs(sweep_loss / loss - 1)):.0e}",
        "chance": f"{chance:.0e}",
    }


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _assign(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def _shaken(values: list[np.ndarray]) -> list[np.ndarray]:
    """Each float32 changed by its last bit, up or down at random."""
    rng = np.random.default_rng(1)
    return [
        np.nextafter(v, np.where(rng.random(v.shape) < 0.5, -np.inf, np.inf).astype(v.dtype)) if _is_weight(v) else v
        for v in values
    ]


def _is_weight(value: np.ndarray) -> bool:
    return value.dtype == np.float32 and value.ndim > 0 and bool(value.any())


if __name__ == "__main__":
    main()
