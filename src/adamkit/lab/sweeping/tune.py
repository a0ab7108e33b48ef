"""Let an Optuna sampler choose the settings, a batch at a time, and train each batch as one population."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
import pandas as pd

from adamkit.lab.errors import InputError
from adamkit.lab.hyperparameters import DIGITS, HYPERPARAMETERS
from adamkit.lab.interrupts import ctrl_c_asks
from adamkit.lab.sweeping import spaces
from adamkit.lab.sweeping.chunks import Run
from adamkit.lab.sweeping.sweeper import Progress, Study, SweepResult
from adamkit.lab.sweeping.tables import signed, summarize
from adamkit.lab.training.trainer import check_count, check_model, check_on_jax, checked_data

if TYPE_CHECKING:
    import optuna

_COMPLEMENT = "1 - "  # before the name of a β in a study: its log scale is that of 1 - β


@dataclass
class TuneResult(SweepResult):
    """What tuning gave: a `SweepResult` of all settings, in the order in which they were asked for.

    Attributes:
        study: Optuna's, with a trial a setting. A β that ranges on a log scale is there as `1 - beta_1`.
    """

    study: Any = None


def tune(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    space: Mapping[str, spaces.Values],
    n: int = 128,
    batch: int = 32,
    sampler: "optuna.samplers.BaseSampler | None" = None,
    study: "optuna.Study | None" = None,
    epochs: int,
    batch_size: int = 32,
    validation_data: tuple | None = None,
    validation_split: float = 0.0,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    seeds: int = 1,
    objective: str | None = None,
    shuffle: bool = True,
    seed: int = 0,
    memory: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Search a space with an Optuna sampler, whose settings are trained a batch at a time as one compiled program.

    The sampler is asked for a batch of settings, they are trained side by side as in `adamkit.lab.sweep`, and it is
    told what came out of each. Needs Keras's JAX backend, and Optuna (`pip install 'adamkit[tune]'`).

    Args:
        model: As in `adamkit.lab.sweep`; so are all arguments that are not named here.
        x: …
        y: …
        space: What each hyperparameter may be: a mapping as in `adamkit.lab.spaces.draw`. A range without points is
            searched as a whole, one with points at these.
        n: Settings to train.
        batch: Settings that are asked for together. Large batches train faster by the setting, small ones let the
            sampler learn sooner.
        sampler: Of a new study. Default: `optuna.samplers.TPESampler`, multivariate, with `constant_liar`, so that
            settings that are asked for together keep away from each other, and the first batch at random.
        study: An Optuna study, in any storage, to go on with; its trials count. A pruner of its own is told the
            objective after each epoch, and marks trials as pruned; they are trained to the end all the same, since a
            population ends together. Default: a new one in memory.
        epochs: …
        batch_size: …
        validation_data: …
        validation_split: …
        class_weight: …
        sample_weight: …
        seeds: Runs of each setting; the sampler is told their mean.
        objective: …
        shuffle: …
        seed: Of the order of the rows, of the starts, and of the sampler, unless one is given.
        memory: …
        on_progress: Called in this thread after each batch.

    Returns:
        All settings with their history, summary and models, and the study. After Ctrl-C what was finished: trials
        whose training was not are marked as failed.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
        TypeError: `model` is no Keras model, or an argument has the wrong type.
        ValueError: As in `adamkit.lab.sweep`; or both a sampler and a study are given, or the study's direction is not
            that of the objective, or it has more than one.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.tune(model, x, x.sum(axis=1), space={"learning_rate": "1e-4..1"}, n=24, batch=8, epochs=30)
        >>> bool(0.01 < result.best().learning_rate[0] < 1), len(result.study.trials)
        (True, 24)
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("tune needs Optuna: pip install 'adamkit[tune]'", name=error.name) from error
    check_on_jax("tune")
    check_model(model)
    for name, value in (("n", n), ("batch", batch), ("epochs", epochs), ("batch_size", batch_size), ("seeds", seeds)):
        check_count(name, value)
    if memory is not None:
        check_count("memory", memory, most=2**63 - 1)
    if sampler is not None and study is not None:
        raise InputError("tune takes a sampler or a study, which has one. Received: both")
    distributions = {_named(name, axis): _distribution(name, axis) for name, axis in spaces.resolved(space).items()}
    data, validation = checked_data(x, y, validation_data, validation_split, class_weight, sample_weight)
    options = {
        "epochs": epochs, "batch_size": batch_size, "seeds": seeds, "objective": objective, "shuffle": shuffle,
        "seed": seed, "same_start": True, "same_order": True, "halving": None, "patience": None,
    }  # fmt: skip
    maximize = (objective or "").startswith("-")
    used = _new_study(sampler, batch, seed, maximize=maximize) if study is None else study
    _check_direction(used, maximize=maximize)
    search = _Search(model, data, validation, options, memory)
    with ctrl_c_asks(search):
        while search.asked < n and not search.interrupted:
            trials = [used.ask(distributions) for _ in range(min(batch, n - search.asked))]
            try:
                done = search.train([_setting(trial.params) for trial in trials])
            except BaseException:
                for trial in trials:
                    used.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            _tell(used, trials, done)
            if on_progress is not None:
                on_progress(search.progress(n * seeds))
    return search.result(used)


class _Search:
    """Batches that were trained, each as a sweep of its own with the program of the first.

    Attributes:
        asked: Settings so far.
        interrupted: Whether to end: set by Ctrl-C.
    """

    def __init__(self, model: keras.Model, data: Any, validation: Any, options: dict[str, Any], memory: int | None):
        self._model, self._data, self._validation = model, data, validation
        self._options, self._memory = options, memory
        self._started = time.perf_counter()
        self._size: int | None = None
        self._batches: list[SweepResult] = []
        self.asked, self.interrupted = 0, False

    def train(self, settings: list[spaces.Setting]) -> SweepResult:
        """Train a batch."""
        study = Study(
            self._model, self._data, self._validation, spaces.settings_of(settings), self._options, self._memory,
            None, None, size=self._size,
        )  # fmt: skip
        with ctrl_c_asks(study):
            result = study.run()
        self._size = study.size
        self.interrupted |= study.interrupted
        self._batches.append(result)
        self.asked += len(settings)
        return result

    def progress(self, total: int) -> Progress:
        """How far it is."""
        done = sum(len(batch._parts.runs()) for batch in self._batches)
        return Progress(done, total, time.perf_counter() - self._started, self._summary)

    def _summary(self) -> pd.DataFrame:
        first = self._batches[0]
        return summarize(self._history(), list(first.settings[0]), first.objective)

    def result(self, study: Any) -> TuneResult:
        """All batches as one."""
        first = self._batches[0]
        return TuneResult(
            self._history(), [one for batch in self._batches for one in batch.settings], first.objective, first.epochs,
            time.perf_counter() - self._started, self.interrupted, None, max(one.at_once for one in self._batches),
            self._model, cast(Any, _Joined(self._batches)), study=study,
        )  # fmt: skip

    def _history(self) -> pd.DataFrame:
        places = np.cumsum([0, *(len(batch.settings) for batch in self._batches)])
        tables = [
            batch.history.assign(setting=batch.history.setting + place)
            for place, batch in zip(places, self._batches, strict=False)
        ]
        return pd.concat(tables, ignore_index=True)


class _Joined:
    """The weights of all batches' runs, of which `SweepResult.model` makes models."""

    def __init__(self, batches: Sequence[SweepResult]):
        self._batches = batches

    def weights(self, run: Run) -> tuple | None:
        setting = run.setting
        for batch in self._batches:
            if 0 <= setting < len(batch.settings):
                return batch._parts.weights(Run(setting, run.seed))
            setting -= len(batch.settings)
        return None


def _new_study(sampler: Any, batch: int, seed: int, *, maximize: bool) -> Any:
    import optuna

    if sampler is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=batch
            )
    direction = "maximize" if maximize else "minimize"
    return optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner(), direction=direction)


def _check_direction(study: Any, *, maximize: bool) -> None:
    wanted = "maximize" if maximize else "minimize"
    given = [direction.name.lower() for direction in study.directions]
    if given != [wanted]:
        raise InputError(
            f"study must {wanted} the objective, and nothing else. Received: a study to {', '.join(given)}"
        )


def _tell(study: Any, trials: Sequence[Any], done: SweepResult) -> None:
    """What came out of each trial; one that was not finished, or not at all, has failed."""
    import optuna

    sign, column = signed(done.objective)
    looks = not isinstance(study.pruner, optuna.pruners.NopPruner)
    values: Any = done.history[column]
    values = values.where(np.isfinite(values), sign * math.inf)  # diverged: worse than all others, as in `summary`
    means: Any = values.groupby([done.history.setting, done.history.epoch]).mean()
    finished = set(means.index.get_level_values("setting"))
    for place, trial in enumerate(trials):
        if place not in finished:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        curve = means.loc[place]
        if looks and _is_pruned(trial, curve):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, float(curve.iloc[-1]))


def _is_pruned(trial: Any, curve: Any) -> bool:
    for epoch, value in curve.items():
        trial.report(float(value), int(epoch))
        if trial.should_prune():
            return True
    return False


def _is_complement(name: str, axis: spaces.Range | list) -> bool:
    if not isinstance(axis, spaces.Range) or axis.points is not None:
        return False
    known = HYPERPARAMETERS[name]
    return known.is_decay and (axis.scale or known.scale) == "log"


def _named(name: str, axis: spaces.Range | list) -> str:
    """What a study calls a hyperparameter."""
    return _COMPLEMENT + name if _is_complement(name, axis) else name


def _distribution(name: str, axis: spaces.Range | list) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, spaces.Range) or axis.points is not None:
        return CategoricalDistribution([setting[name] for setting in spaces.grid({name: axis})])
    known = HYPERPARAMETERS[name]
    log = (axis.scale or known.scale) == "log"
    if known.kind == "integer":
        return IntDistribution(int(axis.low), int(axis.high), log=log)
    if _is_complement(name, axis):
        return FloatDistribution(1 - axis.high, 1 - axis.low, log=True)
    return FloatDistribution(axis.low, axis.high, log=log)


def _setting(params: Mapping[str, Any]) -> spaces.Setting:
    """The hyperparameters of a trial."""
    return {
        name.removeprefix(_COMPLEMENT): float(f"{1 - value:.{DIGITS}g}") if name.startswith(_COMPLEMENT) else value
        for name, value in params.items()
    }
