"""Whatever stands in a file, reading it gives what is right or an error that names the file: no traceback, no code run.

A few hundred examples in seconds; `pytest tests/lab/test_damage.py --hypothesis-profile=many` tries 2,000 a test.
"""

import copy
import io
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamkit.lab import data, models, runs
from adamkit.lab.errors import InputError
from adamkit.lab.runs import Settings, comparisons, listing, sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.runs.predictions import Trained
from adamkit.lab.sweeping import sealed, spaces

pytestmark = pytest.mark.slow  # seconds, all in all

ROWS = np.random.default_rng(0).random((24, 3)).round(4)
TABLE = pd.DataFrame(ROWS, columns=["size", "weight", "age"]).assign(
    city=["Rome", "Bern", None] * 8, day="2026-01-02", y=ROWS[:, 0] > ROWS[:, 1]
)
SPACE = [{"learning_rate": 0.1}, {"learning_rate": 0.2}]


def written(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


FILES = {
    ".csv": TABLE.to_csv(index=False).encode(),
    ".parquet": written(lambda file: TABLE.to_parquet(file)),
    ".npz": written(lambda file: np.savez_compressed(file, x=ROWS, y=ROWS[:, 0] > ROWS[:, 1])),
}


@st.composite
def damaged(draw, content):
    """Bytes flipped, cut off, left out, repeated or put in."""
    place, length = draw(st.integers(0, len(content) - 1)), draw(st.integers(1, 40))
    before, cut, after = content[:place], content[place : place + length], content[place + length :]
    kind = draw(st.sampled_from(["flip", "cut", "leave out", "repeat", "put in"]))
    if kind == "flip":
        return before + bytes(byte ^ draw(st.integers(1, 255)) for byte in cut[:4]) + cut[4:] + after
    if kind == "put in":
        return before + draw(st.binary(min_size=1, max_size=40)) + cut + after
    return before + {"cut": b"", "leave out": after, "repeat": cut + cut + after}[kind]


def check_message(error, file):
    """One line, not too long, that names the file."""
    message = str(error.value if hasattr(error, "value") else error)
    assert file in message
    assert "\n" not in message
    assert len(message) < 2000


@pytest.mark.filterwarnings("ignore")  # of pandas and scikit-learn, about values that are odd
@pytest.mark.parametrize("ending", FILES)
@given(content=st.data())
def test_tables(tmp_path_factory, ending, content):
    file = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    file.write_bytes(content.draw(damaged(FILES[ending])))
    try:
        train, validation, _ = data.load_parts(str(file), target="y", validation=0.25).parts
    except InputError as error:
        check_message(error, file.name)
        return
    assert train.x.dtype == np.float32
    assert np.isfinite(train.x).all()
    assert len(train) + len(validation) > 0


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """What a run, a sweep and a comparison leave, as one."""
    file = tmp_path_factory.mktemp("data") / "table.csv"
    TABLE.to_csv(file, index=False)
    prepared = runs.prepare(
        Settings(data=str(file), target="y", model="logistic", validation_split=0.2, test_split=0.2)
    )
    return prepared.record | {"best": {"setting": SPACE[0], "objective": 0.5}}


OF_KIND = {
    "training": {},
    "sweep": {"sweep": {"space": SPACE, "seeds": 2, "objective": None, "halving": None, "patience": 3}},
    "comparison": {"comparison": {"optimizers": ["adam", "sgd"], "budget": 4, "goal": 0.1, "check": False}},
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**20, 10**400, -(2**63), 0, -1]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a\0b", "\ud800", "../..", "~", "1e-5..1:log:1000000000", "x" * 10_000]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def altered(draw, record):
    """Some values replaced by others, left out, or put somewhere else."""
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        inner = record
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], (dict, list)) and draw(st.integers(0, 3)):
                inner = inner[key]
                continue
            if draw(st.integers(0, 4)):
                inner[key] = draw(ODD)
            else:
                del inner[key]
            break
    return record


def read_all(folder, kind):
    """Whatever a command makes of a record before it trains."""
    assert listing.run_of(folder.path).as_json()["path"] == str(folder.path)
    if kind == "sweep":
        assert len(sweeps.again(folder).space) <= spaces.MOST_RUNS
        sweeps.best_settings(folder)
    elif kind == "comparison":
        comparisons.again(folder)
    else:
        assert isinstance(runs.again(folder), Settings)
        x = Trained.of(folder).features(TABLE.drop(columns="y"), lambda remark: None)
        assert x.dtype == np.float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OF_KIND)
@given(change=st.data())
def test_records_that_somebody_edited(tmp_path_factory, record, kind, change):
    folder = RunFolder(tmp_path_factory.getbasetemp() / f"edited {kind}")
    folder.path.mkdir(exist_ok=True)
    (folder.path / "model.keras").touch()
    edited = change.draw(altered(record | OF_KIND[kind]))
    (folder.path / "run.json").write_text(json.dumps(edited), encoding="utf-8")
    with suppress(InputError):
        read_all(folder, kind)


@given(change=st.data())
def test_records_that_are_damaged(tmp_path_factory, record, change):
    folder = RunFolder(tmp_path_factory.getbasetemp() / "damaged record")
    folder.path.mkdir(exist_ok=True)
    content = change.draw(
        damaged(json.dumps(record).encode()) | st.sampled_from([b"[" * 100_000, b"1" * 5000, b"\xff"])
    )
    (folder.path / "run.json").write_bytes(content)
    with suppress(InputError):
        runs.again(folder)


@given(content=st.data())
def test_histories_and_parts_of_sweeps(tmp_path_factory, content):
    """A part is what was written, or none; a history has no checksum, and is numbers or none."""
    folder = tmp_path_factory.getbasetemp() / "part"
    folder.mkdir(exist_ok=True)
    history = pd.DataFrame({"setting": [0, 0, 1], "seed": [0, 0, 0], "epoch": [1, 2, 1], "loss": [0.5, np.nan, 0.25]})
    part = folder / "0-0-0-00000.parquet"
    seal = sealed.Seal("of a sweep", part.stem, 2, "of a file")
    sealed.write(part, history, seal)
    assert sealed.read(part)[1] == seal
    part.write_bytes(content.draw(damaged(part.read_bytes())))
    try:
        read, found = sealed.read(part)
    except InputError as error:
        check_message(error, part.name)
    else:
        pd.testing.assert_frame_equal(read, history, check_exact=True)
        assert found.chunk == seal.chunk
    os.replace(part, folder / "history.parquet")  # noqa: PTH105
    with suppress(InputError):
        RunFolder(folder).read_history().to_numpy(np.float64)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=settings.default.max_examples // 5)  # a model takes 50 ms
@given(content=st.data())
def test_models(tmp_path_factory, content):
    base = tmp_path_factory.getbasetemp()
    if not (base / "whole.keras").exists():
        models.build("logistic", data.load("random")).save(base / "whole.keras")
    file = base / "damaged.keras"
    file.write_bytes(content.draw(damaged((base / "whole.keras").read_bytes())))
    try:
        model = models.load(file)
    except InputError as error:
        check_message(error, file.name)
    else:
        assert model.count_params() == 21


@given(
    name=st.sampled_from(list(spaces.HYPERPARAMETERS)),
    text=st.text(st.sampled_from("0123456789.e-+:,logintrufas "), max_size=30),
)
def test_texts_of_a_space(name, text):
    with suppress(InputError):
        assert len(spaces.grid({name: text})) <= spaces.MOST_RUNS
    with suppress(InputError):
        assert len(spaces.draw({name: text}, 3)) <= 3


@given(name=st.text(max_size=12) | st.sampled_from([":", "a:b", "~", "..", "/", "x.npz", "x.py:f", "con:", ".keras"]))
def test_names_of_data_and_models(name):
    for named in ({"data": name}, {"model": name}):
        with suppress(InputError):
            made = Settings(**named)
            if not Path(name).exists() and name not in (*data.NAMES, *models.NAMES):
                with pytest.raises(InputError):
                    data.load(made.data) if "data" in named else models.build(made.model, data.load("random"))
