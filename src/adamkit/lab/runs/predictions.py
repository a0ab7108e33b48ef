"""What the model of a run says of new rows, which are encoded and standardized as those that it was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adamkit.lab import data, models
from adamkit.lab.data import Encoding, encoding, files
from adamkit.lab.disk import MODEL
from adamkit.lab.errors import InputError, listed
from adamkit.lab.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

ROWS_A_STEP = 1024
_SCORES = ("hinge", "squared_hinge")  # losses whose output is no probability, and is positive for the second class


def predict(
    run: str | Path, rows: Any, *, on_remark: Callable[[str], None] | None = None, batch_size: int = ROWS_A_STEP
) -> "pd.DataFrame":
    """What the model of a run says of new rows.

    The run's folder has all that it takes: the model, what became of each column of a table, means and scales, and the
    names of the classes.

    Args:
        run: The folder of a run of `adamkit train`.
        rows: A `.csv`, `.parquet` or `.npz` file, a pandas DataFrame, or an array (rows, …). A table has the columns
            that the model was trained on, of the same types, in any order; further ones are ignored. Arrays have the
            shape and scale of those that it was trained on.
        on_remark: Called with what is noteworthy, in words: columns that were ignored, values of text that the model
            does not know. Defaults to nothing.
        batch_size: How many rows go through the model at once.

    Returns:
        One row for each of `rows`, in their order: `prediction`, a number or the name of the likeliest class, and for
        classes `probability_NAME` for each (of a model with a hinge loss `score` instead, above 0 for the second).

    Raises:
        InputError: The folder is of no finished training run, or the rows are not like those that it was trained on: a
            column is missing or of another type, a shape differs, a number is not finite.
        OSError: A file cannot be read.

    Example:
        >>> predict("runs/titanic", "passengers.csv").head(2)  # doctest: +SKIP
          prediction  probability_no  probability_yes
        0         no            0.91             0.09
        1        yes            0.23             0.77
    """
    import pandas as pd

    remark = on_remark or (lambda _: None)
    trained = Trained.of(RunFolder.open(run))
    x = trained.features(rows, remark)
    outputs = np.asarray(trained.model().predict(x, batch_size=batch_size, verbose=0))  # pyright: ignore[reportArgumentType]
    return pd.DataFrame(_in_words(outputs, trained.class_names, trained.loss))


@dataclass(frozen=True)
class Trained:
    """What a run's folder says of its model and data.

    Attributes:
        folder: Where it is.
        row_shape: The shape of one row's features.
        columns: What became of a table's columns; None: the features had no names.
        class_names: None for a number.
        scaling: The mean and scale of each feature, or None.
        loss: Keras's name of it.
    """

    folder: RunFolder
    row_shape: tuple[int, ...]
    columns: Encoding | None
    class_names: list[str] | None
    scaling: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    loss: str

    @classmethod
    def of(cls, folder: RunFolder) -> "Trained":
        """What `folder` says; InputError where it is of no finished training run, or damaged."""
        record = folder.read_record()
        if "sweep" in record:
            raise InputError(
                f"{folder.path} must be the folder of a training run, and is that of a sweep; "
                f"adamkit train --best-of {folder.path} trains its best setting"
            )
        if MODEL not in folder.files():
            raise InputError(f"{folder.path} must hold a trained model, and has no {MODEL}: the run did not end")
        try:
            of_data = record["data"]
            columns, scaling = of_data.get("columns"), of_data["standardized"]
            if columns is None:
                known = None if of_data["feature_names"] is None else data.numbers_only(of_data["feature_names"])
            else:
                known = Encoding.of(columns)
            return cls(
                folder,
                tuple(of_data["row_shape"]),
                known,
                of_data["class_names"],
                None if scaling is None else _scaling(scaling, of_data["row_shape"]),
                record["loss"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder.path}: run.json must say what the model was trained on, and does not") from error

    def model(self) -> Any:
        """The trained model."""
        return models.load(self.folder.path / MODEL)

    def features(self, rows: Any, remark: Callable[[str], None]) -> NDArray[np.float32]:
        """`rows` as the model takes them."""
        source = str(rows) if isinstance(rows, (str, Path)) else "the table" if hasattr(rows, "columns") else "the rows"
        if isinstance(rows, (str, Path)):
            text = [] if self.columns is None else [c.name for c in self.columns.used if c.kind == "text"]
            rows = files.read_features(Path(rows), text)
        if hasattr(rows, "columns") and self.columns is not None:
            x = self._of_table(rows, self.columns, source, remark)
        else:
            x = self._of_array(rows, source)
        if x.shape[1:] != self.row_shape:
            raise InputError(f"the rows of {source} must have the shape {self.row_shape}. Received: {x.shape[1:]}")
        return x.astype(np.float32) if self.scaling is None else data.apply(x, *self.scaling)

    def _of_table(
        self, table: Any, columns: Encoding, source: str, remark: Callable[[str], None]
    ) -> NDArray[np.float64]:
        encoded = columns.encode(table, source)
        known = {column.name for column in columns.columns}
        further = [str(name) for name in table.columns if str(name) not in known]
        if further:
            word = "column" if len(further) == 1 else "columns"
            remark(f"{source}: ignored {word} {listed(map(repr, further))}, which the model was not trained on")
        for text in encoded.remarks:
            remark(text)
        return encoded.x

    def _of_array(self, rows: Any, source: str) -> NDArray[np.float32]:
        if self.columns is not None and self.columns != data.numbers_only(c.name for c in self.columns.columns):
            raise InputError(f"{source} must be a table with the columns {listed(c.name for c in self.columns.used)}")
        x = encoding.features(rows, source).x
        if x.shape[1:] == self.row_shape[:-1] and self.row_shape[-1] == 1:
            x = x[..., None]  # images without an axis for their one channel
        return x


def _scaling(scaling: Mapping[str, Any], row_shape: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale of each feature; ValueError where they are not of features of that shape."""
    mean, scale = (np.array(scaling[name], np.float64) for name in ("mean", "scale"))
    if not mean.shape == scale.shape == tuple(row_shape):
        raise ValueError(scaling)
    return mean, scale


def _in_words(outputs: NDArray, class_names: list[str] | None, loss: str) -> dict[str, Any]:
    """The columns of the table of predictions."""
    if class_names is None:
        return {"prediction": outputs[:, 0]}
    names = np.array(class_names, dtype=object)
    if outputs.shape[1] == 1 and loss in _SCORES:
        return {"prediction": names[(outputs[:, 0] > 0).astype(int)], "score": outputs[:, 0]}
    if outputs.shape[1] == 1:  # the probability of the second of two classes
        outputs = np.concatenate([1 - outputs, outputs], axis=1)
    likeliest = {"prediction": names[outputs.argmax(axis=1)]}
    return likeliest | {f"probability_{name}": outputs[:, i] for i, name in enumerate(class_names)}
