"""What each column of a table becomes for a network, learnt from the rows to train on and written down as JSON.

Numbers stay numbers, dates become days, text with few values becomes a column of 0 and 1 for each value, and what is
missing is filled and marked. scikit-learn's transformers do it; what they learnt is kept as plain names and numbers,
from which they are made again, since a pickle of them would run whatever somebody put into it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamkit.lab.data import encoding
from adamkit.lab.errors import InputError, listed, nearest

MOST_CATEGORIES = 50  # a column of text with more different values is left out
NUMERIC = ("number", "boolean", "date")
KINDS = (*NUMERIC, "text", "left out")
# As `pandas.to_datetime` takes them; the first that fits all values. Month first where a column fits both.
_DATES = ("ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
_IDENTIFIER = re.compile(r"(^|.*[\W_])(id|uuid|guid|index)$", re.IGNORECASE)
_CAMEL_IDENTIFIER = re.compile(r".*[a-z](Id|ID)$")
_A_DAY = 86400e6  # microseconds


@dataclass(frozen=True)
class Column:
    """What one column of a table becomes.

    Attributes:
        name: Its name.
        kind: "number", "boolean" (0 and 1), "date" (days since 1970-01-01, UTC), "text" (a column of 0 and 1 for each
            value), or "left out".
        median: Of a number, boolean or date: what fills the place of what is missing.
        missing: In how many rows to train on it was missing. Where it was in any, a column of 0 and 1 says where.
        categories: Of text: its values, None for missing.
        date_format: Of dates in text: how they were read.
        why: Why it was left out.
    """

    name: str
    kind: str
    median: float | None = None
    missing: int = 0
    categories: tuple[str | None, ...] = ()
    date_format: str | None = None
    why: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "categories", tuple(self.categories))  # JSON has lists


class Encoded(NamedTuple):
    """A table as a network takes it, before it is standardized.

    Attributes:
        x: (rows, features) float64, finite.
        remarks: What was not as in the table to train on, in words: values of text that were not there.
    """

    x: NDArray[np.float64]
    remarks: list[str]


@dataclass(frozen=True)
class Encoding:
    """What each column of a table becomes, as learnt from the rows to train on.

    Attributes:
        columns: One for each column of the table, in its order.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"size": [1.0, None, 4.0, 2.0], "city": ["Rome", "Bern", "Rome", "Bern"]})
        >>> encoding = Encoding.fit(table, "houses.csv")
        >>> encoding.feature_names
        ('size', 'size missing', 'city=Bern', 'city=Rome')
        >>> encoding.encode(table, "houses.csv").x.tolist()[1]
        [2.0, 1.0, 1.0, 0.0]
        >>> Encoding.of(encoding.as_json()) == encoding
        True
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, table: Any, source: str) -> "Encoding":
        """Learn from the rows to train on.

        Args:
            table: A pandas DataFrame.
            source: Where it is from, for error messages.

        Raises:
            InputError: No column is left, or one holds what cannot be learned from: most of it numbers but not all,
                an infinite number, lists.
        """
        columns = [_column(table.iloc[:, i], name, source) for i, name in enumerate(map(str, table.columns))]
        if all(column.kind == "left out" for column in columns):
            reasons = "; ".join(f"{column.name!r} {column.why}" for column in columns[:5])
            raise InputError(f"{source} has no column to learn from: {reasons}")
        return cls(tuple(columns))

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that are not left out."""
        return tuple(column for column in self.columns if column.kind != "left out")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature: numbers, then where they were missing, then each value of text."""
        numeric, text = _numeric(self.used), _text(self.used)
        return (
            *(column.name for column in numeric),
            *(f"{column.name} missing" for column in numeric if column.missing),
            *(f"{column.name}={'missing' if v is None else v}" for column in text for v in column.categories),
        )

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(features,) which features are numbers or dates: those to standardize, for the others are 0 or 1."""
        numbers = [column.kind != "boolean" for column in _numeric(self.used)]
        return np.array(numbers + [False] * (len(self.feature_names) - len(numbers)))

    def encode(self, table: Any, source: str) -> Encoded:
        """The features of `table`, in which further columns are ignored.

        Args:
            table: A pandas DataFrame with the columns that are used, of the types that they had.
            source: Where it is from, for error messages.

        Raises:
            InputError: It has no rows, a column is missing or of another type, or a number is not finite.
        """
        if not len(table):
            raise InputError(f"{source} has no rows")
        self._check_names(encoding.check_columns(table.columns, source), source)
        prepared: dict[str, Any] = {}
        remarks: list[str] = []
        positions = {str(name): i for i, name in enumerate(table.columns)}
        for column in self.used:
            values, where = encoding.plain(table.iloc[:, positions[column.name]]), f"column {column.name!r} of {source}"
            if column.kind == "text":
                prepared[column.name] = _as_text(values)
                remarks += _unknown(column, values, prepared[column.name], where)
            else:
                prepared[column.name] = _as_numbers(column, values, where)
        return Encoded(np.asarray(_transformer(self.used).transform(_frame(prepared)), np.float64), remarks)

    def described(self) -> list[str]:
        """What became of the columns that are not simply numbers, a line each."""
        lines = []
        if text := _text(self.used):
            lines.append(f"a column of 0 and 1 for each value of {listed(_values_of(column) for column in text)}")
        if dates := [column for column in self.used if column.kind == "date"]:
            read = (f"{c.name} ({c.date_format})" if "%" in (c.date_format or "") else c.name for c in dates)
            lines.append(f"days since 1970-01-01 in place of dates: {listed(read)}")
        if missing := [column for column in _numeric(self.used) if column.missing]:
            holes = (f"{c.name} (in {c.missing} row{'' if c.missing == 1 else 's'})" for c in missing)
            lines.append(f"the median where a value is missing, and a column that says where: {listed(holes)}")
        return lines

    def left_out(self) -> list[str]:
        """Why columns were left out, a line each."""
        return [f"column {c.name!r} was left out: it {c.why}" for c in self.columns if c.kind == "left out"]

    def as_json(self) -> list[dict[str, Any]]:
        """Names and numbers, for `json.dump`; `of` makes the same encoding of them."""
        plain = asdict(Column("", ""))
        return [
            {key: value for key, value in asdict(c).items() if key in ("name", "kind") or value != plain[key]}
            for c in self.columns
        ]

    @classmethod
    def of(cls, columns: Any) -> "Encoding":
        """The encoding that `as_json` wrote down; InputError where somebody has changed that into nonsense."""
        try:
            made = cls(tuple(_checked(Column(**column)) for column in columns))
            if len({column.name for column in made.columns}) < len(made.columns):
                raise ValueError(columns)
            return made
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError("the record of the table's columns must be as adamkit wrote it, and is not") from error

    def _check_names(self, names: Sequence[str], source: str) -> None:
        needed = [column.name for column in self.used]
        absent = [name for name in needed if name not in names]
        if absent:
            word = "column" if len(absent) == 1 else "columns"
            raise InputError(
                f"{source} has no {word} {listed(map(repr, absent))}.{nearest(absent[0], names)} The model was trained "
                f"on: {listed(needed)}"
            )


def _checked(column: Column) -> Column:
    """A column from a record, if it can be one that was learnt; TypeError, ValueError or OverflowError otherwise."""
    texts = [column.name, column.kind, column.date_format or "", column.why or ""]
    texts += [value or "" for value in column.categories]
    is_count = isinstance(column.missing, int) and not isinstance(column.missing, bool) and column.missing >= 0
    if not all(isinstance(text, str) for text in texts) or column.kind not in KINDS or not is_count:
        raise ValueError(column)
    if column.median is not None and not (isinstance(column.median, (int, float)) and math.isfinite(column.median)):
        raise ValueError(column)
    if column.kind == "text" and len(set(column.categories)) < max(len(column.categories), 1):
        raise ValueError(column)
    return column


def numbers_only(names: Iterable[str]) -> Encoding:
    """The encoding of a table that was trained on as it stood: numbers, none of them missing."""
    return Encoding(tuple(Column(name, "number") for name in names))


# What a column is.


def _column(values: Any, name: str, source: str) -> Column:
    """What `values`, those to train on, become."""
    import pandas as pd

    values, where = encoding.plain(values), f"column {name!r} of {source}"
    there = values.dropna()
    if not len(there):
        return Column(name, "left out", why="has no value in any row")
    missing = len(values) - len(there)
    if _is_text(there):
        return _column_of_text(values, there, name, missing, where)
    inferred = pd.api.types.infer_dtype(there)
    if encoding.is_boolean(there) or inferred == "boolean":
        column = Column(name, "boolean")
    elif encoding.is_number(there):
        column = Column(name, "number")
    elif there.dtype.kind == "M" or inferred in ("datetime64", "datetime", "date"):
        column = Column(name, "date")
    else:
        raise InputError(f"{where} must be numbers, booleans, text or dates. Received: {inferred}; leave it out")
    distinct = there.nunique()
    if distinct == 1 and not missing:
        return Column(name, "left out", why=f"has the same value in every row, {_short(there.iloc[0])}")
    named_so = _IDENTIFIER.match(name) or _CAMEL_IDENTIFIER.match(name)
    if named_so and column.kind == "number" and distinct == len(values) > 2 and (there == there.round()).all():
        return Column(name, "left out", why=f"identifies rows: its {distinct} whole numbers are all different")
    return _with_median(column, values, missing, where)


def _column_of_text(values: Any, there: Any, name: str, missing: int, where: str) -> Column:
    import pandas as pd

    distinct = sorted(set(there.map(encoding.label)))
    is_category = isinstance(values.dtype, pd.CategoricalDtype)
    if len(distinct) == 1 and not missing:
        return Column(name, "left out", why=f"has the same value in every row, {_short(distinct[0])}")
    date_format = next((known for known in _DATES if _read_dates(distinct, known).notna().all()), None)
    if date_format and not is_category:
        return _with_median(Column(name, "date", date_format=date_format), values, missing, where)
    if len(distinct) <= min(MOST_CATEGORIES, len(there) / 2):
        categories = (*distinct, None) if missing else tuple(distinct)
        return Column(name, "text", missing=missing, categories=categories)
    read: Any = pd.to_numeric(pd.Series(distinct), errors="coerce")
    if read.notna().mean() >= 0.5 and not is_category:  # such as a "?" among numbers
        raise InputError(encoding.not_numeric(values, where))
    different = f"{len(distinct)} different values in {len(values)} rows"
    if len(distinct) == len(there):
        return Column(name, "left out", why=f"identifies rows: its {different} are text, such as {_short(distinct[0])}")
    return Column(name, "left out", why=f"is text with {different}, too many to learn from")


def _with_median(column: Column, values: Any, missing: int, where: str) -> Column:
    numbers = _as_numbers(replace(column, median=0.0), values, where)
    imputer = _imputer().fit(numbers[:, None])
    return replace(column, median=float(imputer.statistics_[0]), missing=missing)


def _is_text(values: Any) -> bool:
    import pandas as pd

    return isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.infer_dtype(values) == "string"


def _numeric(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.kind in NUMERIC]


def _text(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.kind == "text"]


def _values_of(column: Column) -> str:
    values = ["missing" if value is None else value for value in column.categories]
    shown = ", ".join(map(_short, values[:4])) + (" …" if len(values) > 4 else "")
    return f"{column.name} ({shown})"


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 30 else f"{text[:29]}…"


# Its values.


def _as_text(values: Any) -> NDArray:
    """(rows,) str, None for missing."""
    missing = values.isna().to_numpy(bool)
    return np.array([None if no else encoding.label(value) for value, no in zip(values, missing, strict=True)], object)


def _as_numbers(column: Column, values: Any, where: str) -> NDArray[np.float64]:
    """(rows,) float64, NaN for missing."""
    import pandas as pd

    there = values.dropna()
    if column.kind == "date":
        numbers = _days(column, values, there, where)
    elif not len(there):
        numbers = np.full(len(values), np.nan)
    elif encoding.is_number(there) or encoding.is_boolean(there) or pd.api.types.infer_dtype(there) == "boolean":
        numbers = values.astype(object).where(values.notna(), np.nan).to_numpy(np.float64)
    else:
        raise InputError(_of_another_type(values, where, "numbers", pd.to_numeric(there.astype(str), errors="coerce")))
    encoding.check_fits_float32(numbers, where, or_missing=column.median is None)
    return numbers


def _days(column: Column, values: Any, there: Any, where: str) -> NDArray[np.float64]:
    if len(there) and not _is_text(there) and there.dtype.kind != "M" and encoding.is_number(there):
        raise InputError(f"{where} must be dates. Received: numbers such as {there.iloc[0]}")
    try:
        dates = _read_dates(values.astype(object), column.date_format)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} must be dates. Received: {_short(there.iloc[0])!r}") from error
    if (dates.isna() & values.isna().to_numpy(bool)).sum() != dates.isna().sum():
        raise InputError(_of_another_type(values, where, "dates", dates[values.notna().to_numpy(bool)]))
    # In nanoseconds, 64 bits end in the year 2262, and 9999-12-31 often stands for "never".
    microseconds = dates.astype("datetime64[us]").to_numpy().astype(np.int64)
    return np.where(dates.isna(), np.nan, microseconds / _A_DAY)


def _read_dates(values: Any, date_format: str | None) -> Any:
    """A Series of dates without a time zone (UTC); NaT where a value is none."""
    import pandas as pd

    dates = pd.to_datetime(pd.Series(values), format=date_format, errors="coerce", utc=True)
    return dates.dt.tz_localize(None)


def _of_another_type(values: Any, where: str, accepted: str, read: Any) -> str:
    """The first value that could not be read."""
    there = np.flatnonzero(values.notna().to_numpy(bool))
    row = there[int(np.asarray(read.isna()).argmax())]
    return f"{where} must be {accepted}. Received: {_short(values.iloc[row])!r} in row {row + 1}"


def _unknown(column: Column, values: Any, text: NDArray, where: str) -> list[str]:
    """A remark on values that were not there in training; InputError where none was, and all are numbers."""
    known = set(column.categories)
    unknown = [value for value in text if value not in known]
    if not unknown:
        return []
    if len(unknown) == len(text) and encoding.is_number(values.dropna()) and None not in unknown:
        accepted = listed(repr(value) for value in column.categories if value is not None)
        raise InputError(f"{where} must be text such as {accepted}. Received: numbers such as {unknown[0]}")
    first = next((f", such as {_short(value)!r}" for value in unknown if value is not None), ", missing")
    rows = "1 row has a value" if len(unknown) == 1 else f"{len(unknown)} rows have values"
    return [f"{where}: {rows} that the model was not trained on{first}; they count as none of those it knows"]


# scikit-learn.


def _imputer() -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer(strategy="median", add_indicator=True)


def _transformer(columns: Sequence[Column]) -> Any:
    """scikit-learn's transformers, as they were after they had learnt."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    numeric, text = _numeric(columns), _text(columns)
    categories: Any = [np.array(column.categories, dtype=object) for column in text]
    transformer = ColumnTransformer(
        [
            ("numbers", _imputer(), [column.name for column in numeric]),
            (
                "text",
                OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False),
                [column.name for column in text],
            ),
        ],
        sparse_threshold=0,
    )
    # Two rows with the same medians, and with something missing where it was.
    rows: dict[str, Any] = {
        column.name: np.array([column.median or 0.0, np.nan if column.missing else column.median or 0.0])
        for column in numeric
    } | {column.name: np.array([column.categories[0]] * 2, object) for column in text}
    return transformer.fit(_frame(rows))


def _frame(columns: dict[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}, columns=list(columns)
    )
