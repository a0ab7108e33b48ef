"""What was trained, to take along: as one page in a file, and as an ordinary sweep folder."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adamkit.lab import disk
from adamkit.lab.disk import SUMMARY
from adamkit.lab.errors import InputError
from adamkit.lab.runs import sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.sweeping.tables import ranked, summarize, with_settings
from adamkit.play import files
from adamkit.play.archive import Run
from adamkit.play.choices import ADAM, Choice
from adamkit.play.subject import Subject

_LARGEST_HALF = 65_504.0  # of float16


def as_page(described: Mapping[str, Any], runs: Sequence[Run], words: Mapping[str, Any]) -> str:
    """One HTML file in which the sliders answer among these runs, without server and network.

    Curves are float16, which are as fine as a chart's pixels; the figures at their end are float32, as they are shown.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        kind = (run.choice.optimizer, run.choice.moment_dtype, run.choice.epochs, run.choice.rows)
        groups.setdefault(kind, []).append(run)
    packed = []
    for (optimizer, moment_dtype, epochs, rows), own in groups.items():
        curves = np.stack([run.curve for run in own])  # (runs, epochs, columns)
        with np.errstate(invalid="ignore"):
            half = np.where(np.isfinite(curves), np.clip(curves, -_LARGEST_HALF, _LARGEST_HALF), curves)
        packed.append(
            {
                "optimizer": optimizer, "moment_dtype": moment_dtype, "epochs": epochs, "rows": rows,
                "names": list(own[0].choice.setting), "values": [list(run.choice.setting.values()) for run in own],
                "curves": _base64(half.astype("<f2")), "last": _base64(curves[:, -1].astype("<f4")),
            }
        )  # fmt: skip
    return files.whole({"subject": described, "packed": packed, "words": words})


def as_sweep(subject: Subject, runs: Sequence[Run], choice: Choice, parent: str | Path | None = None) -> RunFolder:
    """Keep the runs with Adam that are comparable to a choice as a sweep's folder.

    Args:
        subject: Made from settings.
        runs: Of which those with the choice's format of moments, epochs and rows are kept.
        choice: …
        parent: The folder; None: a new one in `runs`.

    Raises:
        InputError: There are no settings that a sweep could be repeated from, or no such runs.
        OSError: The folder cannot be written.
    """
    if subject.settings is None or subject.record is None:
        raise InputError("a sweep folder needs a model and data by name, as adamkit play takes them")
    kinds = (ADAM, choice.moment_dtype, choice.epochs, subject.rows)
    own = [
        run
        for run in runs
        if (run.choice.optimizer, run.choice.moment_dtype, run.choice.epochs, run.choice.rows) == kinds
    ]
    if not own:
        raise InputError("a sweep folder needs finished runs with adam on all rows. Received: none")
    space = [run.choice.setting for run in own]
    settings = replace(subject.settings, epochs=choice.epochs, moment_dtype=choice.moment_dtype)
    plan = sweeps.Plan(settings, space)
    table = pd.DataFrame(np.concatenate([run.curve for run in own]).astype(np.float64), columns=list(subject.columns))
    table.insert(0, "setting", np.repeat(np.arange(len(own)), choice.epochs))
    table.insert(1, "seed", 0)
    table.insert(2, "epoch", np.tile(np.arange(1, choice.epochs + 1), len(own)))
    history = with_settings([table], space)
    summary = summarize(history, list(space[0]), subject.objective)
    best = ranked(summary).iloc[0]
    swept = asdict(plan)
    del swept["settings"]
    record = dict(subject.record) | {
        "settings": subject.record["settings"] | {"epochs": choice.epochs, "moment_dtype": choice.moment_dtype},
        "sweep": swept,
        "status": "finished",
        "best": {"setting": space[int(best.setting)], "objective": float(best["mean"])},
    }
    with RunFolder.create(parent, "play") as folder:
        folder.write_record(record)
        folder.write_history(history)
        disk.replace(folder.path / SUMMARY, lambda path: summary.to_csv(path, index=False))
    return folder


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
