"""Runs of a Keras model of the user's: what they are called, made from, and leave."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamkit.lab.disk import HISTORY, MODEL, SUMMARY
from adamkit.lab.errors import reason

if TYPE_CHECKING:
    import keras
    import pandas as pd


def name_of(kind: str, folder: Any) -> str:
    """The name of the folder that the run is kept in, or its kind and the time."""
    is_folder = isinstance(folder, (str, Path))
    return Path(folder).resolve().name if is_folder else f"{kind}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def parameters_of(model: "keras.Model", options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is made from: the model, its optimizer's configuration, and the arguments of the call."""
    from adamkit.lab.training.keeping import identity_of

    return {"model": model.name} | identity_of(model, options)


@contextlib.contextmanager
def files_left(
    warn: Callable[[str], None],
    history: "pd.DataFrame",
    summary: "pd.DataFrame | None" = None,
    model: "keras.Model | None" = None,
) -> Iterator[list[Path]]:
    """What a run gave as files, for as long as the block lasts; `warn` is told of a model that cannot be saved."""
    from adamkit.keras.internals import without_tensorflow

    with tempfile.TemporaryDirectory(prefix="adamkit-") as name:
        folder = Path(name)
        history.to_parquet(folder / HISTORY, index=False)
        if summary is not None:
            summary.to_csv(folder / SUMMARY, index=False)
        if model is not None:
            try:
                with without_tensorflow():
                    model.save(folder / MODEL)
            except Exception as error:  # of a class of the user's
                warn(f"the model was not sent along: {reason(error)}")
        yield sorted(folder.iterdir())
