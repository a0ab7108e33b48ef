"""Train one Keras model with many settings of hyperparameters, hundreds of them at once."""

import contextlib
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np
import pandas as pd

from adamkit.keras import internals
from adamkit.keras.internals import learning_rate_of, without_scaler, without_tensorflow
from adamkit.lab import disk, hyperparameters
from adamkit.lab.claims import claimed
from adamkit.lab.disk import HISTORY, SUMMARY
from adamkit.lab.errors import InputError, listed
from adamkit.lab.interrupts import ctrl_c_asks
from adamkit.lab.logs.own_models import files_left, name_of, parameters_of
from adamkit.lab.logs.tables import send_sweep
from adamkit.lab.logs.tool import Tool, checked
from adamkit.lab.sweeping import sealed, spaces
from adamkit.lab.sweeping.chunks import Chunk, Run, State, Trainer, Work, unmappable
from adamkit.lab.sweeping.executors import CannotTrainError, Executor, Failed, Session, Threads
from adamkit.lab.sweeping.parts import Parts
from adamkit.lab.sweeping.remaking import optimizer_with, remade
from adamkit.lab.sweeping.subject import SCHEDULE, Subject
from adamkit.lab.sweeping.tables import ranked, signed, summarize
from adamkit.lab.training.population import averages_of_members, is_schedule_free
from adamkit.lab.training.tracing import reported
from adamkit.lab.training.trainer import check_count, check_model, check_on_jax, checked_data, loss_first

if TYPE_CHECKING:
    from adamkit.lab.insight.charts.theme import Format
    from adamkit.lab.insight.reports.page import Page
    from adamkit.lab.insight.sensitivity import Sensitivity

_SHOWN = 3  # settings that a warning names


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: Runs that are finished: settings times seeds.
        total: All runs.
        seconds: Since the sweep began, or was taken up again.
        summarized: Makes `summary`.
    """

    done: int
    total: int
    seconds: float
    summarized: Callable[[], pd.DataFrame] = field(repr=False)

    @property
    def summary(self) -> pd.DataFrame:
        """As `SweepResult.summary`, of what is finished when it is asked for."""
        return self.summarized()


@dataclass
class SweepResult:
    """What a sweep gave.

    Attributes:
        history: One row a setting, seed and epoch: `setting` (its place in `settings`), `seed` (from 0), the
            hyperparameters, `epoch` (from 1), `loss` and each metric over the epoch's batches, and the same on the
            validation data with `val_` before the name. NaN or infinite where a run diverged.
        settings: All settings.
        objective: The column that is to be small; with a minus before its name, to be large.
        epochs: Asked for.
        seconds: The whole sweep.
        interrupted: Whether Ctrl-C ended it; what was finished is in `history`.
        folder: Where it is kept; None for a temporary folder, which lives as long as this object.
        at_once: How many settings each core, or each accelerator, trained together; 1 is one after the other, which
            `sweep` chooses by the model's size, where that is the faster way. Of several programs the most.
        failed: One row a run that an executor could not train in three attempts: `setting`, `seed`, the
            hyperparameters and `reason`. A sweep that goes on tries them again.
        processors: What the finished runs were trained on, in words. One: they have the bits that one machine of that
            kind gives; several: those but for float32 rounding.
    """

    history: pd.DataFrame
    settings: list[spaces.Setting]
    objective: str
    epochs: int
    seconds: float
    interrupted: bool
    folder: Path | None
    at_once: int
    _model: keras.Model = field(repr=False)
    _parts: Parts = field(repr=False)
    _dropped: frozenset[int] = field(default=frozenset(), repr=False)  # settings, by halving
    failed: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    processors: list[str] = field(default_factory=list)

    @property
    def summary(self) -> pd.DataFrame:
        """One row a finished setting.

        Columns: `setting`, the hyperparameters, `mean` and `std` (the objective at the last epoch, over seeds; a
        diverged seed makes the mean infinite), `diverged` (the share of seeds whose objective is not finite) and
        `epochs` (the most that a seed has done).
        """
        return summarize(self.history, list(self.settings[0]), self.objective)

    def best(self, k: int = 1) -> pd.DataFrame:
        """The rows of `summary` of the k best settings, the best first, without those that `halving` dropped."""
        summary = self.summary
        return ranked(summary.loc[~summary.setting.isin(self._dropped)]).head(k).reset_index(drop=True)

    def model(self, setting: int, seed: int = 0) -> keras.Model:
        """A trained model.

        Args:
            setting: Its place in `settings`.
            seed: Which of its runs.

        Returns:
            A new model, compiled with the setting's optimizer, which has made no step. Where the model's class cannot
            be made again from its configuration (a subclass without `get_config`), the model that was given, with
            these weights.

        Raises:
            ValueError: There is no such run, or it is not finished.
        """
        weights = self._parts.weights(Run(setting, seed))
        if weights is None:
            raise ValueError(
                f"setting and seed must be of a finished run: settings 0 to {len(self.settings) - 1}. "
                f"Received: setting={setting!r}, seed={seed!r}"
            )
        try:
            model = remade(self._model)
        except Exception:  # whatever the user's class raises
            model = self._model
        for group, arrays in zip((model.trainable_variables, model.non_trainable_variables), weights, strict=True):
            for variable, array in zip(group, arrays, strict=True):
                variable.assign(array)
        if model is not self._model:
            copies = dict(zip(map(id, self._model.trainable_variables), model.trainable_variables, strict=True))
            optimizer = optimizer_with(self._model.optimizer, self.settings[setting], copies)
            model.compile(**internals.compile_arguments(self._model) | {"optimizer": optimizer})
        return model

    def to_parquet(self, path: str | Path) -> None:
        """Write `history`."""
        self.history.to_parquet(path, index=False)

    def sensitivity(self) -> "Sensitivity":
        """How much each hyperparameter matters: see `adamkit.lab.insight.sensitivity`."""
        from adamkit.lab.insight import sensitivity

        return sensitivity.sensitivity(self.summary, list(self.settings[0]), self.objective)

    def charts(self, folder: str | Path, formats: "Sequence[Format]" = ("html", "png", "svg")) -> list[Path]:
        """Write each chart in files of its own: see `adamkit.lab.insight.charts`.

        Args:
            folder: Where; it is made if it is not there.
            formats: Which of `"html"` (a page that needs no network), `"png"` and `"svg"`.

        Returns:
            The files.
        """
        from adamkit.lab.insight.charts import sweep as charts

        return charts.write(self.history, self.summary, self.sensitivity(), folder, formats)

    def _repr_html_(self) -> str:
        """In a notebook: the best settings, and the objective over what matters most."""
        from adamkit.lab.insight.charts import sweep as charts
        from adamkit.lab.insight.reports import notebook

        of = f"{len(self.settings):,} settings in {self.seconds:.3g} s"
        if not len(self.history):
            return notebook.html(f"{of}: nothing is finished", self.summary, None)
        drawn = charts.charts_of(self.history, self.summary, self.sensitivity())
        # The chart of two hyperparameters, else of the one, else of the curves.
        name = next((name for name in drawn if "-" in name), next(iter(drawn), None))
        return notebook.html(f"{of}; the best by {self.objective}", self.best(5), None if name is None else drawn[name])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from adamkit.lab.insight.reports import notebook

        return notebook.bundle(self)

    def _page(self) -> "Page":
        """The report; its figures are those of `history`, of which there must be some."""
        from adamkit.lab.insight.reports import sweep as reports

        runs = self.history[["setting", "seed"]].drop_duplicates()
        return reports.page(
            self.history, list(self.settings[0]), self.objective,
            settings=len(self.settings), seeds=int(np.max(runs["seed"])) + 1, halving=bool(self._dropped),
            seconds=self.seconds, interrupted=self.interrupted,
        )  # fmt: skip


def sweep(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    space: spaces.Space,
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
    same_start: bool = True,
    same_order: bool = True,
    halving: int | None = None,
    patience: int | None = None,
    memory: int | None = None,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    report: bool = True,
    log: Tool | Iterable[Tool] = (),
) -> SweepResult:
    """Train a compiled Keras model with every setting of a space, as compiled programs that train many at once.

    Each setting gives what `lab.train` and, without shuffling, `model.fit` would give it, to float32 rounding (which
    training enlarges where a gradient is zero by mathematics, as of a bias before a normalization), whichever others it
    is trained beside. The model is left as it is. Needs Keras's JAX backend.

    Args:
        model: Compiled; its loss, metrics and optimizer are used. Swept can be the hyperparameters that the optimizer
            has, be it `adamkit.keras.Adam` or any of Keras's, and the schedule of its learning rate.
        x: Inputs: an array (rows, …), or a list, tuple or dictionary of them. May be larger than memory
            (`numpy.memmap`, float32): it is then streamed.
        y: Targets, likewise.
        space: What each hyperparameter may be: a mapping of names to values, whose every combination is trained, or a
            list of settings: see `adamkit.lab.spaces`, whose `draw` makes random ones.
        epochs: How often each run goes through the data, >= 1.
        batch_size: Rows a step, unless it is in the space.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, evaluated after each epoch.
        validation_split: The share of the rows, 0 <= share < 1, to validate on: the last ones.
        class_weight: The weight of the loss of each class (label: weight; others 1), of the rows to train on. Not with
            `sample_weight`.
        sample_weight: (rows,) the weight of the loss of each row; or as many as there are outputs.
        seeds: Runs of each setting, with a start and an order of the rows of its own each. The first starts as the
            model stands, where it is trained already with the optimizer's moments and step count. For the others
            initializers draw the trainable weights anew, and the optimizer begins anew; what a training step leaves
            alone (layers that are frozen, or adapted to data) they have as it stands.
        objective: The column of the history, at the last epoch, that is to be small; with a minus before its name, to
            be large (`"-val_accuracy"`). Default: `"val_loss"` with validation data, else `"loss"`. A `train_step` of
            the user's that reports no loss needs one.
        shuffle: Whether each epoch has a new order of the rows.
        seed: Of that order, and of the starts.
        same_start: Whether all settings start from the same weights, so that differences come from the setting; False:
            each from its own.
        same_order: Whether all settings see the rows in the same order; False: each in its own.
        halving: Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) by this factor, >= 2: after
            `epochs / halving**k` epochs, for each k that leaves an epoch and a setting, only the best 1 / `halving` of
            the settings go on. None: all go on to the end.
        patience: A run ends after so many epochs without a smaller objective, and keeps its last one in the ranking of
            settings. None: it goes on to the end.
        memory: Bytes that the runs at work may take. Default: half of what is free.
        folder: Where to keep the sweep: `history.parquet`, `summary.csv`, `report.html`, and what is needed to go on.
            If it holds a part of this very sweep, that is not run again. One process at a time works in it. None: a
            temporary one, without a report.
        executor: Who trains: `adamkit.lab.Ray` for a cluster; a sweep that was begun without goes on with one, and the
            other way. The model must then be one that can be made again from its configuration, and `memory` is that of
            each task. None: the cores or accelerators of this machine.
        on_progress: Called in this thread whenever some runs are finished.
        report: Whether to write the report, a page of charts that needs no network, after the results. One that cannot
            be written is a RuntimeWarning.
        log: Where to keep the sweep too when it has ended, each run of it within one: tools of `adamkit.lab.logs`, one
            or several. One that is not installed or fails is a RuntimeWarning.

    Returns:
        The history of all runs, their summary and their models.

    Raises:
        TypeError: `model` is no Keras model, or an argument has the wrong type.
        ValueError: An argument is out of range, a hyperparameter is unknown or not one of the model's optimizer, the
            arrays differ in their number of rows, the model cannot be mapped, or one run does not fit into memory
            (`InputError`, a ValueError, where the message is for users of the command line too).
        OSError: The executor could train none of the runs.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.sweep(model, x, x.sum(axis=1), space={"learning_rate": "1e-4..1:log:9"}, epochs=30)
        >>> bool(0.01 < result.best().learning_rate[0] < 1)
        True
    """
    check_on_jax("sweep")
    check_model(model)
    tools = checked(log)
    settings = spaces.settings_of(space)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("seeds", seeds)):
        check_count(name, value)
    for name, value, least in (("halving", halving, 2), ("patience", patience, 1)):
        if value is not None:
            check_count(name, value, least)
    if memory is not None:
        check_count("memory", memory, most=2**63 - 1)
    spaces.check_runs(len(settings), seeds)
    spaces.check_seeds(seed, seeds)
    data, validation = checked_data(x, y, validation_data, validation_split, class_weight, sample_weight)
    options = {
        "epochs": epochs, "batch_size": batch_size, "seeds": seeds, "objective": objective, "shuffle": shuffle,
        "seed": seed, "same_start": same_start, "same_order": same_order, "halving": halving, "patience": patience,
    }  # fmt: skip
    with contextlib.nullcontext() if folder is None else claimed(Path(folder)):
        study = Study(model, data, validation, settings, options, memory, folder, on_progress)
        with ctrl_c_asks(study):
            result = study.run(executor)
        if folder is not None:
            disk.replace(Path(folder) / HISTORY, lambda path: sealed.write_rows(path, result.history))
            disk.replace(Path(folder) / SUMMARY, lambda path: result.summary.to_csv(path, index=False))
    if folder is not None and report and len(result.history):
        from adamkit.lab.insight import reports

        reports.attempt(result._page, Path(folder), _warn)
    if tools and len(result.history):
        made_from = parameters_of(model, options)
        with files_left(_warn, result.history, result.summary) as files:
            send_sweep(tools, name_of("sweep", folder), made_from, result, files, _warn)
    return result


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


class Study:
    """A sweep at work: rung after rung of successive halving, group after group of equal programs, chunk by chunk.

    Args:
        model: Compiled; it is left as it is.
        data: (x, y, sample weights), checked.
        validation: Likewise, or None.
        settings: Checked.
        options: By name, those of `sweep`, and `first_seed`, the place of the first of the seeds (0 where left out).
        memory: As in `sweep`; so are the next two.
        folder: …
        on_progress: …
        size: Runs in a chunk; None: as many as train well together.
        most: At most so many.
        quick: Compile fast rather than well: for short runs.

    Attributes:
        interrupted: Set by whoever wants it to end, also from another thread.
        size: Runs in a chunk, once it is known.
    """

    def __init__(
        self,
        model,
        data,
        validation,
        settings,
        options,
        memory,
        folder,
        on_progress,
        *,
        size=None,
        most=None,
        quick=False,
    ):
        self.started = time.perf_counter()
        self.subject = subject = Subject(model, data, validation, options, memory, quick=quick)
        _check_hyperparameters(model.optimizer, settings[0])
        self.names = _columns(model, subject.batch, subject.validation_batch)
        options = options | {"objective": _objective(options["objective"], self.names, validation is not None)}
        subject.options = self.options = options
        self.settings = settings
        self.folder = None if folder is None else Path(folder)
        fingerprint = "" if folder is None else _fingerprint(model, data, validation, settings, options)
        self.parts = Parts.open(folder, fingerprint, len(settings))
        self.on_progress, self.size, self.most = on_progress, size, most
        self._so_far: dict[Run, tuple[float, int]] = {}  # each run's smallest objective, and the epochs since
        self.dropped: set[int] = set()
        self.failures: list[Failed] = []
        self.interrupted = False

    def run(self, executor: Executor | None = None) -> SweepResult:
        """Train what is not trained yet.

        Raises:
            CannotTrainError: The executor could train none of the runs.
        """
        with (executor or Threads()).connected() as session:
            return self.run_in(session)

    def run_in(self, session: Session) -> SweepResult:
        """`run`, with an executor that is connected already."""
        self._run(session)
        if self.failures and not self.parts.runs():
            raise CannotTrainError(f"none of the runs could be trained: {self.failures[-1].reason}")
        return SweepResult(
            self.parts.history(self.settings, self.names), self.settings, self.options["objective"],
            self.options["epochs"], time.perf_counter() - self.started, self.interrupted, self.folder,
            self.parts.largest_chunk(), self.subject.model, self.parts, frozenset(self.dropped), self._failed(),
            self.parts.processors,
        )  # fmt: skip

    def at_the_end(self, data: Any) -> pd.DataFrame:
        """Loss and metrics on other data of each finished run at its end: one row a run, with `setting` and `seed`.

        With `use_ema` it is the averaged weights that are measured, as `fit` leaves them.
        """
        runs = self.parts.runs()
        found = self._trainer().evaluate(self.parts.states(runs), data, self.size or len(runs))
        table = {"setting": [run.setting for run in runs], "seed": [run.seed for run in runs]}
        return pd.DataFrame(table | {name: found[name] for name in loss_first(found)})

    def at_the_start(self, data: Any) -> dict[str, float]:
        """Loss and metrics on data of the model as it was given."""
        start = self.subject.start(Run(0, 0))
        state = State(*([array[None] for array in group] for group in start), optimizer=[])
        found = self._trainer().evaluate(state, data, self.size or 1)
        return {name: float(found[name][0]) for name in loss_first(found)}

    def seconds_an_epoch(self) -> float:
        """What an epoch of one run takes here among as many as a chunk has, without compilation."""
        setting = self.settings[0]
        with self.subject.for_program(setting):
            return self._trainer().seconds_an_epoch(self.size or 1, self.subject.hyperparameters(setting))

    def _trainer(self) -> Trainer:
        return self.subject.trainer(self.subject.batch_size(self.settings[0]))

    def _run(self, session: Session) -> None:
        alive = list(range(len(self.settings)))
        done = 0
        rungs = rungs_of(self.options["epochs"], self.options["halving"], len(self.settings))
        for rung, epochs in enumerate(rungs):
            for key, group in self._groups(alive).items():
                self._train_group(session, f"{rung}-{key}", key, group, done, epochs, keep_all=epochs < rungs[-1])
                if self.interrupted:
                    return
            done = epochs
            if epochs < rungs[-1]:
                failed = {run.setting for one in self.failures for run in one.chunk.runs}
                alive = [setting for setting in alive if setting not in failed]
                history = self.parts.history(self.settings, None)
                history = history.loc[history.epoch <= epochs]  # where the sweep is taken up again, it may be longer
                survivors = self._survivors(alive, history)
                self.dropped |= set(alive) - set(survivors)
                alive, self._so_far = survivors, self._waited(history)

    def _survivors(self, alive: list[int], history: pd.DataFrame) -> list[int]:
        """The best settings so far, in their order; the mean over seeds counts."""
        summary = summarize(history, [], self.options["objective"])
        keep = math.ceil(len(alive) / self.options["halving"])
        return sorted(ranked(summary.loc[summary.setting.isin(alive)]).setting.head(keep).tolist())

    def _waited(self, history: pd.DataFrame) -> dict[Run, tuple[float, int]]:
        sign, column = signed(self.options["objective"])
        found = {}
        runs: Any = history.groupby(["setting", "seed"])[column]
        for (setting, seed), values in runs:
            values = np.append(np.inf, (sign * values).fillna(np.inf))  # before the first epoch nothing is reached
            best = int(values.argmin())
            found[Run(int(setting), int(seed))] = (values[best], len(values) - 1 - best)
        return found

    def _has_ended(self, run: Run) -> bool:
        patience = self.options["patience"]
        return patience is not None and self._so_far.get(run, (np.inf, 0))[1] >= patience

    def _groups(self, alive: list[int]) -> dict[str, list[int]]:
        """Settings by what their program depends on."""
        groups: dict[tuple, list[int]] = {}
        for setting in alive:
            groups.setdefault(self.subject.program_of(self.settings[setting]), []).append(setting)
        order = sorted(groups, key=str)
        return {str(place): groups[key] for place, key in enumerate(order)}

    def _train_group(
        self, session: Session, name: str, key: str, group: list[int], done: int, epochs: int, *, keep_all: bool
    ) -> None:
        setting = self.settings[group[0]]
        with self.subject.for_program(setting):
            trainer = session.chunks(self.subject, setting)
            first = self.options.get("first_seed", 0)
            of_seeds = [[Run(i, seed) for i in group] for seed in range(first, first + self.options["seeds"])]
            runs = [[run for run in of_seed if not self._has_ended(run)] for of_seed in of_seeds]
            size = self.parts.chunk_size(key)  # all rungs have one program
            if size is None:
                hyperparameters = self.subject.hyperparameters(setting)
                try:
                    size = self.size or trainer.chunk_size(len(group), hyperparameters, self.most)
                except CannotTrainError as error:
                    all_runs = tuple(run for of_seed in runs for run in of_seed)
                    self._note(Failed(Chunk(name, all_runs, done, epochs), str(error)))
                    return
                self.parts.keep_chunk_size(key, size)
            self.size = size
            chunks = [
                Chunk(f"{name}-{seed}-{begin // size:05d}", tuple(of_seed[begin : begin + size]), done, epochs)
                for seed, of_seed in enumerate(runs)
                for begin in range(0, len(of_seed), size)
            ]
            works = (self._work(chunk) for chunk in chunks if not self.parts.has(chunk.name))
            for trained in trainer.train(works, size, lambda: self.interrupted):
                if isinstance(trained, Failed):
                    self._note(trained)
                    continue
                chunk, history, state, processor = trained
                self.parts.note_processor(processor)
                self.parts.add(chunk, history, state if keep_all else _finished(state, self.subject.model.optimizer))
                self._report()

    def _work(self, chunk: Chunk) -> Work:
        hyperparameters = tuple(self.subject.hyperparameters(self.settings[run.setting]) for run in chunk.runs)
        so_far = tuple(self._so_far.get(run, (np.inf, 0)) for run in chunk.runs)
        return Work(chunk, hyperparameters, so_far, self.parts.states(chunk.runs) if chunk.first_epoch else None)

    def _note(self, failed: Failed) -> None:
        self.failures.append(failed)
        settings = [self.settings[run.setting] for run in failed.chunk.runs]
        shown = "; ".join(", ".join(f"{name} {value!r}" for name, value in one.items()) for one in settings[:_SHOWN])
        more = f"; and {len(settings) - _SHOWN} more" if len(settings) > _SHOWN else ""
        warnings.warn(
            f"{len(settings)} runs could not be trained, the others go on: {failed.reason}. They are: {shown}{more}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _failed(self) -> pd.DataFrame:
        rows = [
            {"setting": run.setting, "seed": run.seed, **self.settings[run.setting], "reason": one.reason}
            for one in self.failures
            for run in one.chunk.runs
        ]
        return pd.DataFrame(rows, columns=["setting", "seed", *self.settings[0], "reason"])

    def _report(self) -> None:
        if self.on_progress is not None:
            done, total = self.parts.count(), len(self.settings) * self.options["seeds"]
            self.on_progress(Progress(done, total, time.perf_counter() - self.started, self._summary_so_far))

    def _summary_so_far(self) -> pd.DataFrame:
        return summarize(self.parts.ends(self.settings), list(self.settings[0]), self.options["objective"])


def rungs_of(epochs: int, halving: int | None, settings: int) -> list[int]:
    """The epochs after which the worse settings are dropped, and the last one."""
    if halving is None:
        return [epochs]
    most = math.floor(math.log(settings, halving) + 1e-9)
    return sorted({epochs // halving**k for k in range(most + 1) if epochs // halving**k >= 1})


def _finished(state: State, optimizer: Any) -> State:
    """What `fit` leaves at its end: without moments, and with averaged weights where the optimizer keeps an average."""
    own = without_scaler(optimizer)
    if is_schedule_free(own):
        averages = averages_of_members(optimizer, state.trainable, state.optimizer)
        return replace(state, trainable=jax.device_get(averages), optimizer=[])
    if not own.use_ema:
        return replace(state, optimizer=[])
    places = {id(variable): place for place, variable in enumerate(optimizer.variables)}
    averages = [state.optimizer[places[id(average)]] for average in internals.averages_of(own)]
    return replace(state, trainable=averages, optimizer=[])


def _check_hyperparameters(optimizer: Any, setting: spaces.Setting) -> None:
    """InputError unless the model's optimizer has what is to be swept."""
    optimizer = without_scaler(optimizer)
    config = optimizer.get_config()
    for name in setting:
        if name not in (*SCHEDULE, "batch_size") and name not in config:
            own = [known for known in hyperparameters.HYPERPARAMETERS if known in config]
            raise InputError(
                f"{name} can be swept in a model whose optimizer has it. Received: a model with "
                f"{type(optimizer).__module__}.{type(optimizer).__name__}, which has {listed(own)}"
            )
    if setting.keys() & set(SCHEDULE) and not isinstance(learning_rate_of(optimizer), keras.Variable):
        raise InputError(
            "learning_rate, warmup_steps and cosine_alpha can be swept where the optimizer's learning rate is a number."
            f" Received: {type(learning_rate_of(optimizer)).__name__}"
        )
    if setting.keys() & set(SCHEDULE) and config.get("learning_rate") == "auto":
        raise InputError(
            "learning_rate='auto' is found while training, so that none can be swept. Received: a space of it"
        )


def _columns(model: keras.Model, batch: Any, validation: Any) -> list[str]:
    """The names of loss and metrics in a history; of a step of the user's, those that it reports."""
    try:
        names = loss_first(reported(model, batch))
        of_validation = reported(model, validation, test=True) if validation is not None else []
        return names + [f"val_{name}" for name in loss_first(of_validation)]
    except Exception as error:  # whatever the user's step raises
        raise unmappable(error) from error


def _objective(asked: str | None, names: Sequence[str], validated: bool) -> str:
    """The objective, of the columns of the history.

    Raises:
        InputError: It is none of them.
    """
    objective = asked or ("val_loss" if validated else "loss")
    if objective.removeprefix("-") not in names:
        received = repr(asked) if asked else f"none, and no {objective} is reported"
        raise InputError(f"objective must be one of {listed(names)}, or one with a minus. Received: {received}")
    return objective


def _fingerprint(model: keras.Model, data: Any, validation: Any, settings: Any, options: Any) -> str:
    """Changes with everything that a sweep's numbers depend on, but for the machine."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([settings, options], sort_keys=True).encode())
    optimizer, objective = model.optimizer, internals.compile_arguments(model)
    optimizers = {id(one): one for one in (optimizer, without_scaler(optimizer))}
    parts = [*optimizers.values(), *internals.flat_layers(model), *keras.tree.flatten(objective["loss"])]
    with without_tensorflow():
        decays = internals.decays(without_scaler(optimizer), model.trainable_variables)
        described = [objective.get("loss_weights"), decays, *(_described(part) for part in parts)]
    digest.update(json.dumps(described, sort_keys=True, default=lambda value: type(value).__name__).encode())
    state = (*model.trainable_variables, *model.non_trainable_variables, *optimizer.variables)
    weights = [v.value for v in state]
    for array in jax.tree.leaves([data, validation, weights]):
        array = np.asarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        for part in _rows_at_a_time(array):
            digest.update(part.tobytes())
    return digest.hexdigest()


def _rows_at_a_time(array: np.ndarray) -> Iterator[np.ndarray]:
    """All of an array that may be larger than memory, in pieces that are not."""
    if not array.ndim or not array.size:
        yield array
        return
    rows = max(1, _BYTES_AT_ONCE * len(array) // array.nbytes)
    for begin in range(0, len(array), rows):
        yield array[begin : begin + rows]


def _described(part: Any) -> list[Any]:
    """The kind and the configuration of a part of a model, without the names that Keras numbers."""
    kind = part if isinstance(part, str) else getattr(part, "__qualname__", type(part).__qualname__)
    config = {}
    if isinstance(part, (keras.Optimizer, keras.Loss, keras.Layer)) and not internals.has_layers(part):
        with contextlib.suppress(Exception):  # whatever the user's class raises
            config = part.get_config()
    return [kind, {name: value for name, value in config.items() if name not in ("name", "inner_optimizer")}]


_BYTES_AT_ONCE = 2**24  # of an array that is looked at
