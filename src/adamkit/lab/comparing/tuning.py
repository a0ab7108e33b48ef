"""The protocol of a comparison: search a space of each optimizer's own, repeat the best settings, measure on test data.

1. Every optimizer gets the same number of settings, a scrambled Sobol sequence over its space. Each is trained once,
   all from the same start and in the same order of the data.
2. If the best of them lies on the border of the space, that is widened and searched again, with as many settings.
3. The few best settings are trained with `seeds` starts and orders that no setting has seen before, the same for every
   optimizer. The one with the best mean on the validation part is the optimizer's.
4. All runs are measured on the test part, at their end. It chose nothing.

An audit has one stage instead: the settings of a grid, and one untuned setting of each optimizer, with the same seeds.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pandas as pd

from adamkit.keras.internals import build_for, compile_arguments, flat_layers
from adamkit.lab import disk
from adamkit.lab.comparing.checks import CHECKS, Check
from adamkit.lab.comparing.optimizers import Optimizer
from adamkit.lab.comparing.search import borders, widened
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping import sealed, spaces
from adamkit.lab.sweeping.chunks import UnmappableError, free_memory
from adamkit.lab.sweeping.executors import CannotTrainError, Executor, Threads
from adamkit.lab.sweeping.remaking import remade
from adamkit.lab.sweeping.sealed import Seal
from adamkit.lab.sweeping.sweeper import Study
from adamkit.lab.training.checkpoints import digest_of
from adamkit.lab.training.population import Program
from adamkit.lab.training.trainer import rows_of

MOST_WIDENED = 3  # times that a space is widened
FINALISTS = 4  # settings that are repeated: as many as the smallest population that trains well
MOST_AT_ONCE = 2 * FINALISTS  # runs in a population: repeated settings share the search's program, and fill half of it
Table = Any  # a pandas.DataFrame, whose columns no type checker follows
SEARCH, REPEAT, CHECK = "search", "repeat", "check"
GRID, UNTUNED, TRAINS = "grid", "untuned", "trains"  # of an audit
_THREADS = 2  # optimizers at work at once, on the CPU
_SHORT = 1e11  # operations of one optimizer's runs; below, to compile well takes longer than it saves


@dataclass(frozen=True)
class Progress:
    """How far a comparison is.

    Attributes:
        done: Runs that are finished.
        total: All runs, as far as is known: each space that is widened adds to them.
        seconds: Since the comparison began, or was taken up again.
        stages: What each optimizer is at: `"waits"`, `"search"`, `"widened"`, `"repeat"`, `"done"` or
            `"failed"`; in an audit `"trains"` between the first and the last two.
    """

    done: int
    total: int
    seconds: float
    stages: dict[str, str]


@dataclass
class Found:
    """What the runs of one optimizer gave.

    Attributes:
        given: The optimizer with the space that it was given.
        used: With the space that its settings are from.
        times: How often that was widened.
        ends: The borders of it that the best settings still lie on.
        settings: All settings of the search.
        history: One row a run and epoch: `stage`, `setting`, `seed`, the hyperparameters, `epoch`, loss and metrics.
        runs: One row a run: `stage`, `setting`, `seed`, and at its end `loss` and the metrics of the last epoch, and
            what it reaches on the validation and the test part (`val_loss`, `test_loss` …).
        seconds_an_epoch: Of one run. NaN where nothing was repeated.
    """

    given: Optimizer
    used: Optimizer
    times: int
    ends: dict[str, str]
    settings: list[spaces.Setting]
    history: Table
    runs: Table
    seconds_an_epoch: float = math.nan
    model: keras.Model | None = field(default=None, repr=False)
    size: int = 1

    def add(self, stage: str, part: "_Trained", places: Sequence[int]) -> None:
        """Runs of some settings, by their places in `settings`."""
        tables = (part.history, part.runs)
        named = [table.assign(stage=stage, setting=np.array(places)[table.setting]) for table in tables]
        self.history = pd.concat([self.history, named[0]], ignore_index=True)
        self.runs = pd.concat([self.runs, named[1]], ignore_index=True)


class _Trained:
    """The history of some runs, and what they reach at their end."""

    def __init__(self, study: Study, history: Table, runs: Table):
        self.study, self.history, self.runs = study, history, runs


class Tuning:
    """A comparison at work: two optimizers at a time, so that one is compiled while another trains.

    Args:
        model: Compiled and built; it is left as it is.
        parts: The rows to train on, to choose on and to report on, each (x, y, sample weights).
        optimizers: Checked.
        budget: Settings of each.
        seeds: Runs of each of the best settings.
        options: Of the sweeps: `epochs`, `batch_size`, `objective`, `shuffle`, `seed` …
        memory: Bytes that all runs at work may take; None: half of what is free.
        folder: Where what is finished is kept; None: nowhere.
        on_progress: Called by `run`, in its thread.
        executor: Who trains; None: this machine.
        audited: Whether it is an audit: the first optimizer is the grid, the others are untuned.

    Attributes:
        interrupted: Set by Ctrl-C.
        start: Loss and metrics before any training, on the validation part (`val_loss` …) and the test part.
    """

    def __init__(
        self,
        model: keras.Model,
        parts: tuple[Any, Any, Any],
        optimizers: Sequence[Optimizer],
        budget: int,
        seeds: int,
        options: Mapping[str, Any],
        memory: int | None,
        folder: str | Path | None,
        on_progress: Callable[[Progress], None] | None,
        executor: Executor | None = None,
        *,
        audited: bool = False,
    ):
        self._started = time.perf_counter()
        self._model, self._optimizers, self._budget, self._seeds = model, optimizers, budget, seeds
        self._data, self._validation, self._test = parts
        self._options = dict(options)
        self._sign = -1.0 if options["objective"].startswith("-") else 1.0
        self._folder = None if folder is None else Path(folder) / disk.PARTS
        self._digest: str | None = None  # of the test data
        self._on_progress = on_progress
        self._executor = executor or Threads()
        if executor is None:
            self._threads = min(_THREADS, len(optimizers)) if jax.default_backend() == "cpu" else 1
            self._memory = (memory or free_memory() // 2) // self._threads
        else:
            self._threads, self._memory = len(optimizers), memory  # which only wait
        trained = budget * seeds if audited else budget
        self._quick = 6 * _operations(model) * rows_of(self._data) * options["epochs"] * trained < _SHORT
        self._lock = threading.Lock()
        self._evaluator: Program | None = None  # of the first model: to evaluate is the same with any optimizer
        self._studies: list[Study] = []
        self._done: dict[str, int] = {}
        self._job, each = self._tune, budget + min(FINALISTS, budget) * seeds
        self._total = {one.name: each for one in optimizers}
        if audited:
            self._job = self._audit
            self._total = {one.name: seeds for one in optimizers} | {GRID: budget * seeds}
        self._stages = {one.name: "waits" for one in optimizers}
        self.interrupted = False
        self.start: dict[str, float] = {}

    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._started

    def described(self, failures: Mapping[str, str]) -> dict[str, Any]:
        """How what `run` found was made, but for each optimizer's own part of it."""
        made = {name: self._options[name] for name in ("objective", "epochs", "batch_size", "seed")}
        parts = (self._data, self._validation, self._test)
        return made | {
            "budget": self._budget, "seeds": self._seeds, "rows": [rows_of(part) for part in parts],
            "start": self.start, "failures": failures, "interrupted": self.interrupted, "seconds": self.seconds(),
        }  # fmt: skip

    def run(self, *, check: bool) -> tuple[list[Found], dict[str, str], list[Check]]:
        """All of it.

        Args:
            check: Whether to put settings into the spaces of optimizers that contain theirs.

        Returns:
            What was found of each optimizer that is done; why others could not be trained; what was checked.

        Raises:
            InputError: None could be trained.
        """
        found: dict[str, Found] = {}
        failures: dict[str, str] = {}
        checked: list[Check] = []
        with (
            self._executor.connected() as self._session,
            ThreadPoolExecutor(self._threads, thread_name_prefix="adamkit-compare") as pool,
        ):
            try:
                for name, result in self._done_of({pool.submit(self._job, one): one.name for one in self._optimizers}):
                    if isinstance(result, UnmappableError):
                        failures[name], self._stages[name], self._total[name] = str(result), "failed", 0
                    elif result is not None:
                        found[name] = result
                if failures and not found and not self.interrupted:
                    raise InputError("; ".join(f"{name}: {text}" for name, text in failures.items()))
                for one in found.values():
                    if not self.interrupted and REPEAT in set(one.runs.stage):
                        one.seconds_an_epoch = self._timed(one)
                pairs = [one for one in CHECKS if check and one[0] in found and one[1] in found]
                self._total[CHECK] = len(pairs) * self._seeds
                jobs = {pool.submit(self._checked, found[a], found[b], moved): b for a, b, moved in pairs}
                checked = [result for _, result in self._done_of(jobs) if isinstance(result, Check)]
            except BaseException:
                self._end()
                raise
        ordered = [found[one.name] for one in self._optimizers if one.name in found]
        return ordered, failures, checked

    def _done_of(self, working: dict[Future, str]) -> Iterator[tuple[str, Any]]:
        """What jobs give, or that an optimizer cannot be mapped; meanwhile progress is told, and Ctrl-C passed on."""
        left, shown = set(working), None
        while left:
            done, left = wait(left, timeout=0.1)
            if self.interrupted:
                self._end()
            for future in done:
                error = future.exception()
                if error is not None and not isinstance(error, UnmappableError):
                    raise error
                yield working[future], error or future.result()
            now = sum(self._done.values()), dict(self._stages)
            if self._on_progress is not None and now != shown:
                self._on_progress(Progress(now[0], sum(self._total.values()), self.seconds(), now[1]))
                shown = now

    def _end(self) -> None:
        """Let all that is at work end."""
        self.interrupted = True
        for study in list(self._studies):
            study.interrupted = True

    def _tune(self, given: Optimizer) -> Found | None:
        """All runs of one optimizer; None after Ctrl-C."""
        name, used, ends, size, times = given.name, given, {}, None, 0
        if self.interrupted:
            return None
        model = self._copy(given)
        while True:
            self._stages[name] = "widened" if times else SEARCH
            places, settings = used.draw(self._budget, self._options["seed"])
            trained = self._trained(model, settings, name, f"{SEARCH}-{times}", 1, 0, size)
            if trained is None:
                return None
            self._note_start(trained.study)
            size = trained.study.size
            values = self._values(trained.runs)
            ends = borders(used.space, places, values)
            if not ends or times == MOST_WIDENED:
                break
            used, times = widened(used, ends), times + 1
            self._total[name] += self._budget
        empty = pd.DataFrame()
        found = Found(given, used, times, ends, settings, empty, empty, model=model, size=size or 1)
        found.add(SEARCH, trained, range(len(settings)))
        best = [int(i) for i in np.argsort(values, kind="stable")[:FINALISTS] if np.isfinite(values[i])]
        self._total[name] += (len(best) - min(FINALISTS, self._budget)) * self._seeds
        if best:
            self._stages[name] = REPEAT
            trained = self._trained(model, [settings[i] for i in best], name, REPEAT, self._seeds, 1, size)
            if trained is None:
                return None
            found.add(REPEAT, trained, best)
        self._stages[name] = "done"
        return found

    def _audit(self, given: Optimizer) -> Found | None:
        """The settings of the grid, or the untuned one of an optimizer, with all seeds; None after Ctrl-C."""
        if self.interrupted:
            return None
        stage = GRID if given.name == GRID else UNTUNED
        self._stages[given.name] = TRAINS
        places, settings = given.draw(self._budget, self._options["seed"]) if stage == GRID else ([], [given.untuned()])
        trained = self._trained(self._copy(given), settings, given.name, stage, self._seeds, 0, None)
        if trained is None:
            return None
        self._note_start(trained.study)
        found = Found(given, given, 0, {}, settings, pd.DataFrame(), pd.DataFrame())
        found.add(stage, trained, range(len(settings)))
        if stage == GRID:
            means: Table = pd.Series(self._values(trained.runs)).groupby(trained.runs.setting).mean()
            found.ends = borders(given.space, places, means.to_numpy())
        self._stages[given.name] = "done"
        return found

    def _checked(self, smaller: Found, larger: Found, moved: Callable) -> Check | None:
        """The smaller family's best setting in the larger one's space."""
        best = {one.given.name: place for one in (smaller, larger) if (place := self.best_of(one)) is not None}
        if len(best) < 2 or self.interrupted:
            return None
        name, other = larger.given.name, smaller.given.name
        setting = moved(smaller.settings[best[other]], larger.settings[best[name]])
        trained = self._trained(larger.model, [setting], name, f"{CHECK}-{other}", self._seeds, 1, larger.size)
        if trained is None:
            return None
        metric = "test_" + self._options["objective"].removeprefix("-").removeprefix("val_")
        reached = [
            one.runs.loc[(one.runs.stage == REPEAT) & (one.runs.setting == best[one.given.name]), metric]
            for one in (smaller, larger)
        ]
        return Check(other, name, setting, *(values.tolist() for values in (*reached, trained.runs[metric])))

    def best_of(self, found: Found) -> int | None:
        """The setting of an optimizer: of those repeated, the one whose mean on the validation part is best."""
        runs = found.runs.loc[found.runs.stage == REPEAT]
        if not len(runs):
            return None
        means: Table = pd.Series(self._values(runs), index=runs.setting).groupby(level=0).mean()
        return int(means.idxmin())

    def _values(self, runs: Table) -> np.ndarray:
        """What is to be small, at the end of each run; inf where it diverged."""
        values = self._sign * runs[self._options["objective"].removeprefix("-")].to_numpy()
        return np.where(np.isfinite(values), values, np.inf)

    def _trained(
        self, model: Any, settings: list, name: str, part: str, seeds: int, first_seed: int, size: int | None
    ) -> _Trained | None:
        """Train settings with some seeds, and measure them at their end; None after Ctrl-C."""
        key, folder = f"{name}/{part}", None if self._folder is None else self._folder / name / part

        def count(progress: Any) -> None:
            self._done[key] = progress.done

        options = self._options | {"seeds": seeds, "first_seed": first_seed}
        settings = spaces.settings_of(settings)
        study = Study(
            model, self._data, self._validation, settings, options, self._memory, folder, count,
            size=size, most=MOST_AT_ONCE, quick=self._quick,
        )  # fmt: skip
        with self._lock:
            self._studies.append(study)
        study.interrupted = self.interrupted
        history = study.run_in(self._session).history
        with self._lock:
            self._studies.remove(study)
        if study.interrupted:
            return None
        if study.failures:  # what is compared must have had the same chances
            reason = study.failures[-1].reason
            raise CannotTrainError(f"{name} could not be trained with all of its settings: {reason}")
        self._done[key] = len(settings) * seeds
        return _Trained(study, history, self._ends(study, history))

    def _ends(self, study: Study, history: Table) -> Table:
        """One row a run: the last epoch's figures, and those on the validation and test parts at its end."""
        file = None if study.folder is None else study.folder / "ends.parquet"
        seal = Seal(study.parts.fingerprint, "ends", 0, self._of_test())
        if file is not None:
            with contextlib.suppress(InputError):  # it is not there, or not as it was written
                kept, found = sealed.read(file)
                if found == seal:
                    return kept
        own = [column for column in study.names if not column.startswith("val_")]
        runs = history.loc[history.epoch == history.epoch.max(), ["setting", "seed", *study.settings[0], *own]]
        for prefix, data in (("val_", self._validation), ("test_", self._test)):
            ends = study.at_the_end(data)
            ends.columns = [column if column in ("setting", "seed") else prefix + column for column in ends.columns]
            runs = runs.merge(ends, on=["setting", "seed"])
        if file is not None:
            sealed.write(file, runs, seal)
        return runs

    def _note_start(self, study: Study) -> None:
        """Loss and metrics before any training: the same for all optimizers."""
        with self._lock:
            if self.start:
                return
            file = None if self._folder is None else self._folder / "start.json"
            kept = _kept(file)
            start = kept.get("start") if isinstance(kept, dict) and kept.get("test") == self._of_test() else None
            if isinstance(start, dict) and all(isinstance(value, float) for value in start.values()):
                self.start = start
                return
            for prefix, data in (("val_", self._validation), ("test_", self._test)):
                self.start |= {prefix + name: value for name, value in study.at_the_start(data).items()}
            if file is not None:
                record = {"test": self._of_test(), "start": self.start}
                disk.replace(file, lambda path: path.write_text(json.dumps(record)))

    def _of_test(self) -> str:
        """What tells the data to report on from others."""
        if self._folder is not None and self._digest is None:
            self._digest = digest_of(self._test)
        return self._digest or ""

    def _timed(self, found: Found) -> float:
        """Seconds that an epoch of one run takes, with nothing else at work."""
        file = None if self._folder is None else self._folder / found.given.name / "seconds.json"
        if isinstance(kept := _kept(file), float):
            return kept
        options = self._options | {"seeds": 1}
        settings = spaces.settings_of(found.settings)
        study = Study(
            found.model, self._data, self._validation, settings, options, self._memory, None, None,
            size=found.size, quick=self._quick,
        )  # fmt: skip
        seconds = study.seconds_an_epoch()
        if file is not None:
            disk.replace(file, lambda path: path.write_text(json.dumps(seconds)))
        return seconds

    def _copy(self, optimizer: Optimizer) -> keras.Model:
        """A model of the optimizer's own, with the same weights, so that several are at work at once."""
        try:
            model = remade(self._model)
        except Exception as error:
            raise InputError(
                "compare needs a model that can be made again from its configuration: "
                f"{type(self._model).__name__} must have get_config and from_config. Received: {error}"
            ) from error
        model.compile(**compile_arguments(self._model) | {"optimizer": optimizer.make()})
        build_for(model, jax.tree.map(lambda rows: rows[: self._options["batch_size"]], self._data))
        program = Program.of(model, quick=self._quick)
        with self._lock:
            self._evaluator = self._evaluator or program
        program.evaluate_by(self._evaluator)
        return model


def _kept(file: Path | None) -> Any:
    """What a file of JSON holds; None where it is not there or damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return None if file is None else json.loads(file.read_text(encoding="utf-8"))
    return None


def _operations(model: keras.Model) -> float:
    """Multiplications of one row's forward pass: each weight once for each place of a layer's output."""
    total = 0.0
    for layer in flat_layers(model):
        weights = sum(math.prod(v.shape) for v in layer.trainable_variables)
        try:
            output: Any = layer.output
            places = math.prod(n or 1 for n in output.shape[1:-1])
        except AttributeError:  # a layer that is called in a way of its own, or a model
            places = 1
        total += weights * places if not isinstance(layer, keras.Model) else 0
    return total or float(model.count_params())
