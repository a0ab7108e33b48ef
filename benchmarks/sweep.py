"""Many learning rates: `adamkit.lab.sweep` against tuners that train one setting after another.

    python -m benchmarks.sweep [--quick]

Two tasks: the example (1000 rows of 20 random features, a hidden layer of 64, 50 epochs, batches of 32), and a small
convolutional network on scikit-learn's digits. Each contender works in a new process, adamkit and peers in turn, with
everything imported and the data made before the clock starts. Peers train 8 or 4 learning rates, the way their own
documentation shows; all run on Keras's JAX backend.

- `seconds`, by the setting, are what a user waits for: the first sweep of a new process, with compilation; of the
  peers, which build and compile a model for each setting, all of it. `times_faster` is against the fastest peer.
- `seconds_compiled` leave compilation out: the median of 7 further sweeps of the same model (fewer where they take
  long). The peers have no such way, so their number is the same. As a fifth contender one model is trained by `fit`
  again and again, and reset by hand between; it is no peer, because none works like this, but it shows what
  compilation costs them, and `times_reset_model` is against it.
- `share_of_limit` is that of arithmetic: the operations of training, as XLA counts them in one step, over the time
  without compilation and over the rate of a large matrix product on all cores in the same process.
- `megabytes` are the peak of the process after the first sweep, less what it held before.
"""

import argparse
import contextlib
import importlib.metadata
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import machine, show, versions, write

os.environ.setdefault("KERAS_BACKEND", "jax")

LOWEST, HIGHEST = 1e-4, 1e-2
OURS, FIT, RESET = "adamkit.lab.sweep", "keras.Model.fit", "fit, model reset"
OPTUNA, KERAS_TUNER, RAY = "Optuna, 2 jobs", "KerasTuner GridSearch", "Ray Tune"
TASKS = {  # title, epochs, settings of the peers, settings of the sweeps
    "example": ("the example", 50, 8, (16, 256, 1024)),
    "digits": ("CNN on digits", 3, 4, (16, 64)),
}
ENOUGH = 8.0  # seconds of further sweeps, if they are not yet 7


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 settings for the peers, 16 for the sweep")
    parser.add_argument("--worker", nargs=3, metavar=("TASK", "CONTENDER", "SETTINGS"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        task, contender, settings = options.worker
        # The workers of Ray Tune print on their own: the last line of this process is the result.
        print(json.dumps(_CONTENDERS[contender](task, int(settings))))
        return
    rows = [row for task in TASKS for row in _rows(task, quick=options.quick)]
    used = versions() | {name: importlib.metadata.version(name) for name in ("optuna", "keras-tuner", "ray")}
    report = {"machine": machine(), "versions": used, "rows": rows}
    show("Many learning rates, by the setting", rows)
    write("sweep", report)


def _rows(task: str, *, quick: bool) -> list[dict]:
    title, _, peer_settings, sizes = TASKS[task]
    ours = [(OURS, size) for size in (sizes[:1] if quick else sizes)]
    others = [(name, 2 if quick else peer_settings) for name in (FIT, OPTUNA, KERAS_TUNER, RAY, RESET)]
    in_turn = [pair for place in range(len(others)) for pair in (*ours[place : place + 1], others[place])]
    measured = {pair: _work(task, *pair) for pair in in_turn}
    fastest = min(measured[pair]["with"] for pair in others[:-1])
    reset = measured[others[-1]]["without"]
    return [
        {
            "task": title,
            "tool": pair[0],
            "settings": pair[1],
            "seconds": found["with"],
            "times_faster": fastest / found["with"],
            "seconds_compiled": found["without"],
            "times_faster_compiled": fastest / found["without"],
            "times_reset_model": reset / found["without"],
            "share_of_limit": found.get("share", ""),
            "megabytes": found.get("megabytes", ""),
        }
        for pair, found in ((pair, measured[pair]) for pair in (*others, *ours))
    ]


def _work(task: str, contender: str, settings: int) -> dict[str, float]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.sweep", "--worker", task, contender, str(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _sweep(task: str, settings: int) -> dict[str, float]:
    """adamkit: all settings as one population."""
    from adamkit import lab
    from adamkit.keras import Adam
    from adamkit.lab.sweeping import sweeper  # noqa: F401  imported beforehand, as `fit`'s own modules are

    x, y = _data(task)
    epochs = TASKS[task][1]
    model = _compiled(task, Adam())
    space = {"learning_rate": _learning_rates(settings)}

    def sweep() -> None:
        lab.sweep(model, x, y, space=space, epochs=epochs)

    before = _peak_bytes()
    first = _seconds(sweep)
    megabytes = (_peak_bytes() - before) / 1e6
    times: list[float] = []
    while len(times) < 7 and sum(times) < ENOUGH:
        times.append(_seconds(sweep))
    further = statistics.median(times)
    limit = _operations(model, x, y) * epochs / _matrix_peak()
    return {
        "with": first / settings,
        "without": further / settings,
        "share": limit / (further / settings),
        "megabytes": megabytes,
    }


def _fit(task: str, settings: int) -> dict[str, float]:
    """The loop that a user would write."""
    import keras

    x, y = _data(task)

    def run() -> None:
        for rate in _learning_rates(settings):
            model = _compiled(task, keras.optimizers.Adam(rate))
            model.fit(x, y, epochs=TASKS[task][1], batch_size=32, verbose=0)

    return _peer(run, settings)


def _reset(task: str, settings: int) -> dict[str, float]:
    import keras

    x, y = _data(task)
    model = _compiled(task, keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    weights, state = model.get_weights(), [variable.numpy() for variable in model.optimizer.variables]

    def run(rate: float) -> None:
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        model.optimizer.learning_rate = rate
        model.fit(x, y, epochs=TASKS[task][1], batch_size=32, verbose=0)

    times = [_seconds(lambda rate=rate: run(rate)) for rate in _learning_rates(settings)]
    return {"with": statistics.mean(times), "without": statistics.median(times[1:])}


def _optuna(task: str, settings: int) -> dict[str, float]:
    import keras
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y = _data(task)

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", LOWEST, HIGHEST, log=True)
        model = _compiled(task, keras.optimizers.Adam(rate))
        return model.fit(x, y, epochs=TASKS[task][1], batch_size=32, verbose=0).history["loss"][-1]

    def run() -> None:
        sampler = optuna.samplers.GridSampler({"learning_rate": _learning_rates(settings)})
        optuna.create_study(sampler=sampler).optimize(objective, n_trials=settings, n_jobs=2)

    return _peer(run, settings)


def _keras_tuner(task: str, settings: int) -> dict[str, float]:
    import keras
    import keras_tuner

    x, y = _data(task)

    def build(hp: keras_tuner.HyperParameters) -> Any:
        rate: Any = hp.Choice("learning_rate", _learning_rates(settings))
        return _compiled(task, keras.optimizers.Adam(rate))

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            objective = keras_tuner.Objective("loss", "min")
            tuner = keras_tuner.GridSearch(build, objective=objective, max_trials=settings, directory=folder)
            tuner.search(x, y, epochs=TASKS[task][1], batch_size=32, verbose=0)

    with contextlib.redirect_stdout(sys.stderr):
        return _peer(run, settings)


def _ray(task: str, settings: int) -> dict[str, float]:
    """A process a core, each of which is used again, so that it imports Keras once."""
    import ray
    from ray import tune

    def trainable(config: dict) -> None:
        import keras

        x, y = _data(task)
        model = _compiled(task, keras.optimizers.Adam(config["learning_rate"]))
        history = model.fit(x, y, epochs=TASKS[task][1], batch_size=32, verbose=0).history
        tune.report({"loss": history["loss"][-1]})

    def run() -> None:
        tuner = tune.Tuner(
            trainable,
            param_space={"learning_rate": tune.grid_search(_learning_rates(settings))},
            tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        if tuner.fit().num_errors:
            raise RuntimeError("trials of Ray Tune failed")

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        seconds = _peer(run, settings)
        ray.shutdown()
    return seconds


_CONTENDERS: dict[str, Callable[[str, int], dict[str, float]]] = {
    OURS: _sweep,
    FIT: _fit,
    OPTUNA: _optuna,
    KERAS_TUNER: _keras_tuner,
    RAY: _ray,
    RESET: _reset,
}


def _peer(run: Callable[[], None], settings: int) -> dict[str, float]:
    seconds = _seconds(run) / settings
    return {"with": seconds, "without": seconds}


def _data(task: str) -> tuple[Any, Any]:
    import numpy as np

    if task == "digits":
        from adamkit.lab import data

        digits = data.load("digits")
        return digits.x, digits.y
    rng = np.random.default_rng(0)
    return rng.random((1000, 20)).astype("float32"), rng.integers(0, 2, 1000).astype("float32")


def _compiled(task: str, optimizer: Any) -> Any:
    """A new model."""
    import keras

    if task == "digits":
        from adamkit.lab import data, models

        model, loss = models.build("cnn", data.load("digits")), "sparse_categorical_crossentropy"
    else:
        layers = [keras.Input((20,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1, "sigmoid")]
        model, loss = keras.Sequential(layers), "binary_crossentropy"
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def _learning_rates(n: int) -> list[float]:
    import numpy as np

    return np.geomspace(LOWEST, HIGHEST, n).tolist()


def _operations(model: Any, x: Any, y: Any) -> float:
    """Floating-point operations of one member's epoch, as XLA counts them in a step, before it optimizes."""
    import jax
    import numpy as np

    from adamkit.lab.training.population import Program, members_of

    batch = 32
    members, program = members_of(model), Program.of(model)
    # One batch, because XLA counts the body of a loop once.
    indices = np.arange(batch, dtype=np.int32)[None]
    lowered = program._train_full.lower(program._state(members), members.hyperparameters, (x, y, None), indices)
    analysis: Any = lowered.cost_analysis()
    return analysis["flops"] * len(jax.tree.leaves(x)[0]) / batch


def _matrix_peak() -> float:
    """Operations a second of a product of matrices on all cores: the fastest of 10."""
    import jax
    import jax.numpy as jnp

    size = 2048
    matrix = jnp.ones((size, size), "float32")
    product = jax.jit(lambda a: a @ a)
    product(matrix).block_until_ready()
    return 2 * size**3 / min(_seconds(lambda: product(matrix).block_until_ready()) for _ in range(10))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _peak_bytes() -> int:
    """The most memory that this process has held: VmHWM where the system tells it, because of a fork's inheritance."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
