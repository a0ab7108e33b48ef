"""A run that goes on from a checkpoint is the run that never stopped; what is damaged, or of another, is not taken."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.training import checkpoints, keeping
from adamkit.lab.training.checkpoints import Checkpoint
from adamkit.lab.training.keeping import Keeper

pytestmark = pytest.mark.slow  # seconds, all in all

rng = np.random.default_rng(0)
X = rng.random((60, 5), "float32")
Y = (X.sum(axis=1) > 2.5).astype("float32")
OPTIONS = {"batch_size": 20, "validation_data": (X[:20], Y[:20])}


def network(dtype="float32", **adam):
    """Dropout's seed and batch normalization's means are state too."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8, "relu", dtype=dtype),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(Adam(**({"learning_rate": 0.01} | adam)), "binary_crossentropy", metrics=["accuracy"])
    return model


def assert_same(result, expected):
    drop = {"columns": "seconds"}
    pd.testing.assert_frame_equal(result.history.drop(**drop), expected.history.drop(**drop), check_exact=True)
    pairs = zip(*(checkpoints.variables_of(run.model) for run in (result, expected)), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(np.asarray(ours.value), np.asarray(theirs.value), err_msg=ours.path)


@pytest.mark.tried(
    "a run stopped and gone on with, in every format",
    "the bits of a run that never stopped",
)
@pytest.mark.parametrize(
    ("dtype", "adam"),
    [
        ("float32", {}),
        pytest.param("bfloat16", {"moment_dtype": "int8", "amsgrad": True}, marks=pytest.mark.slow),
        pytest.param(
            "float16", {"moment_dtype": "bfloat16", "parameter_rounding": "stochastic"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_a_run_in_parts_is_the_run_in_one_to_the_bit(dtype, adam, tmp_path):
    expected = lab.train(network(dtype, **adam), X, Y, epochs=4, **OPTIONS)
    model = network(dtype, **adam)
    assert lab.train(model, X, Y, epochs=2, folder=tmp_path, **OPTIONS).resumed_after == 0
    for weights in model.weights:  # what it holds is not what counts
        weights.assign(weights + 1)
    result = lab.train(model, X, Y, epochs=4, folder=tmp_path, **OPTIONS)
    assert result.resumed_after == 2
    assert_same(result, expected)
    again = lab.train(model, X, Y, epochs=4, folder=tmp_path, **OPTIONS)  # there is nothing left to do
    assert again.resumed_after == 4
    assert_same(again, expected)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 3 epochs, its folder with checkpoints of epochs 2 and 3, and those."""
    folder = tmp_path_factory.mktemp("run")
    result = lab.train(network(), X, Y, epochs=3, folder=folder, checkpoint_every=1, **OPTIONS)
    return result, folder, [checkpoints.read(path) for path in checkpoints.files(folder / "checkpoints")]


def copied(folder, to):
    (to / "checkpoints").mkdir(parents=True)
    for path in checkpoints.files(folder / "checkpoints"):
        (to / "checkpoints" / path.name).write_bytes(path.read_bytes())
    return to


def test_the_hashes_are_chained_and_say_which_epoch_has_which_state(run):
    _, _, (third, second) = run
    assert (third.epoch, second.epoch) == (3, 2)
    np.testing.assert_array_equal(third.chain[:2], second.chain)
    np.testing.assert_array_equal(third.states[:2], second.states)
    for checkpoint in (second, third):
        hashes = [checkpoints.digest(array) for array in checkpoint.variables]
        np.testing.assert_array_equal(keeping.short(hashes), checkpoint.states[-1])
        row = keeping.figures(checkpoint.rows()[-1])
        before = checkpoint.chain[-2].tobytes()
        assert checkpoints.chained(before, hashes, row) == checkpoint.chain[-1].tobytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": 1 - Y}, "the data must be those"),
        ({"validation_data": (X[1:21], Y[1:21])}, "the data must be those"),
        ({"seed": 1}, "seed must be as in the run that there is, 0. Received: 1"),
        ({"batch_size": 30}, "batch_size must be"),
        ({"shuffle": False}, "shuffle must be"),
        ({"epochs": 2}, r"epochs must be >= 3, which are done. Received: epochs=2"),
        ({"adam": {"learning_rate": 0.02}}, "learning_rate must be as in the run that there is, 0.01. Received: 0.02"),
        (
            {"dtype": "bfloat16"},
            r"the model must be that of the checkpoint, which has .*dense.* as \(\(5, 8\)",
        ),
    ],
    ids=str,
)
def test_another_run_is_refused_and_its_checkpoints_stay(run, change, said):
    _, folder, _ = run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    model = network(change.get("dtype", "float32"), **change.get("adam", {}))
    own = {name: value for name, value in change.items() if name not in ("dtype", "adam")}
    arguments = {"y": Y, "epochs": 5, **OPTIONS} | own
    y = arguments.pop("y")
    with pytest.raises(InputError, match=said):
        lab.train(model, X, y, folder=folder, **arguments)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_an_error_that_names_it(run, where, flip, cut, tmp_path_factory):
    _, folder, _ = run
    whole = checkpoints.files(folder / "checkpoints")[0].read_bytes()
    at = int(where * len(whole))
    damaged = Path(tmp_path_factory.getbasetemp(), "epoch-000003.safetensors")
    damaged.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    with pytest.raises(InputError, match=damaged.name):
        checkpoints.read(damaged)


@pytest.mark.tried(
    "a checkpoint with a byte changed, or cut",
    "passed over, with a warning; the one before is taken",
)
def test_a_damaged_checkpoint_is_passed_over_and_said(run, tmp_path):
    expected = lab.train(network(), X, Y, epochs=3, **OPTIONS)
    folder = copied(run[1], tmp_path)
    latest = checkpoints.files(folder / "checkpoints")[0]
    latest.write_bytes(latest.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="passed over.*epoch-000003"):
        result = lab.train(network(), X, Y, epochs=3, folder=folder, **OPTIONS)
    assert result.resumed_after == 2
    assert_same(result, expected)


def test_names_that_are_no_checkpoints_and_links_are_left_alone(run, tmp_path):
    folder = copied(run[1], tmp_path / "run") / "checkpoints"
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(checkpoints.files(folder)[0].read_bytes())
    (folder / "epoch-000009.safetensors").symlink_to(outside)
    (folder / "epoch-..safetensors").write_text("")
    (folder / "epoch-000008.safetensors").mkdir()
    assert [checkpoints.epoch_of(path) for path in checkpoints.files(folder)] == [3, 2]


def test_another_version_is_refused(run, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "epoch-000001.safetensors"
    save_file({"a": np.zeros(1)}, path, {"adamkit": json.dumps({"version": 99})})
    with pytest.raises(InputError, match=r"must be of version 1. Received: version 99"):
        checkpoints.read(path)


@given(
    arrays=st.lists(
        st.sampled_from(["float32", "bfloat16", "float16", "int8", "uint32", "bool", "float64"]).flatmap(
            lambda dtype: st.sampled_from([(), (0,), (3,), (2, 0), (2, 3)]).map(lambda shape: (dtype, shape))
        ),
        min_size=1,
    )
)
def test_what_is_written_is_read_to_the_bit(arrays, tmp_path_factory):
    import ml_dtypes

    values = [
        np.arange(np.prod(shape)).reshape(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        for dtype, shape in arrays
    ]
    n = len(values)
    history = np.array([[0.1, np.nan], [np.inf, -0.0]])
    written = Checkpoint(
        2, values, [f"η {i}" for i in range(n)], ["loss", "seconds"], history,
        np.zeros((2, n, 8), np.uint8), np.ones((2, 32), np.uint8), {"seed": 0},
    )  # fmt: skip
    read = checkpoints.read(written.write(Path(tmp_path_factory.getbasetemp()) / "written"))
    for ours, theirs in zip((*read.variables, read.history), (*values, history), strict=True):
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
    assert (read.names, read.columns, read.epoch, read.identity) == (written.names, written.columns, 2, {"seed": 0})


def keep(keeper, epochs):
    model = network()
    model.build((None, 5))
    keeper.begin(model, (X, Y, None), None, {})
    for epoch in range(1, epochs + 1):
        state = keeper.snapshot([np.full(3, epoch, "float32")])
        keeper.add({"epoch": epoch, "loss": 1 / epoch, "seconds": 0.1}, state)
    return keeper


def test_writing_takes_two_percent_of_the_time_at_most(tmp_path, monkeypatch):
    now, written = [0.0], []

    def write(self, folder):
        written.append(now[0])
        now[0] += 0.1  # seconds that writing takes

    monkeypatch.setattr(Checkpoint, "write", write)

    def clock():
        now[0] += 0.125  # each look, of which an epoch has one
        return now[0]

    keep(Keeper(tmp_path, clock=clock), 200).finish()
    gaps = np.diff(written[:-1])
    assert written[0] >= 1
    assert len(gaps) > 1
    assert (gaps >= 0.1 / 0.02).all()


@pytest.mark.tried(
    "a checkpoint on a disk that is full for a while",
    "tried again; nothing half written is left",
)
def test_a_write_that_fails_is_tried_again_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    write, calls = Checkpoint.write, []

    def sometimes(self, folder):
        calls.append(self.epoch)
        if len(calls) in fails:
            (folder / ".1.epoch-000001.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(self, folder)

    monkeypatch.setattr(Checkpoint, "write", sometimes)
    (tmp_path / "checkpoints").mkdir()
    fails = {2}
    keeper = keep(Keeper(tmp_path, every=1), 3)
    keeper.finish()
    assert keeping.unsaved(keeper) is None
    assert sorted(path.name for path in keeper.folder.iterdir()) == [
        "epoch-000001.safetensors",
        "epoch-000003.safetensors",
    ]
    (tmp_path / "full/checkpoints").mkdir(parents=True)
    fails = set(range(100))
    keeper = keep(Keeper(tmp_path / "full", every=1), 1)
    keeper.finish()
    assert str(keeping.unsaved(keeper)) == "the checkpoint could not be written: No space left on device"


@pytest.mark.tried(
    "a run's folder deleted in mid-run",
    "the run ends, with an error that says so",
)
def test_a_folder_that_is_gone_ends_the_run(tmp_path):
    keeper = keep(Keeper(tmp_path / "gone", every=1), 1)
    keeper.finish()
    assert keeper.stop
    assert keeping.unsaved(keeper) is not None
