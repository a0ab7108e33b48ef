"""A sweep on a Ray cluster gives what it gives on one machine, whatever happens to workers, machines and chunks."""

import doctest
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from adamkit import lab
from adamkit.keras import Adam
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping import cluster
from tests.lab.sweeping.ray_cluster import forking, wait_until

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked at in /proc"),
    pytest.mark.usefixtures("ray_cluster"),
]

X = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
Y = np.sin(X.sum(axis=1, keepdims=True))
RATES = np.geomspace(1e-3, 0.1, 12).tolist()
OPTIONS = {"epochs": 4, "batch_size": 8, "validation_split": 0.2}
DRIVER = os.getpid()


def sweep(model, settings=None, **options):
    settings = settings or [{"learning_rate": rate} for rate in RATES]
    return lab.sweep(model, X, Y, space=settings, report=False, **(OPTIONS | options))


def model_with(loss="mse"):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(optimizer=Adam(0.01), loss=loss)
    return model


def assert_same_bits(ours, theirs):
    pd.testing.assert_frame_equal(ours.history, theirs.history, check_exact=True)
    for setting in (0, 5):
        for own, other in zip(ours.model(setting).get_weights(), theirs.model(setting).get_weights(), strict=True):
            np.testing.assert_array_equal(own, other)


def loss_that(act):
    """A loss of a worker's that does something when its step is traced, before anything is trained."""

    def loss(y, prediction):
        if os.getpid() != DRIVER:
            act()
        return keras.ops.mean(keras.ops.square(y - prediction))

    return loss


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """On this machine: seeds, and halving with its rungs."""
    folder = tmp_path_factory.mktemp("here")
    model = model_with()
    return model, folder, sweep(model, seeds=2, halving=2, folder=folder)


def test_a_sweep_has_the_bits_of_one_on_this_machine_and_goes_on_from_one_to_the_other(here, tmp_path):
    model, folder, result = here
    there = sweep(model, seeds=2, halving=2, folder=tmp_path, executor=lab.Ray())
    assert_same_bits(there, result)
    assert there.processors == result.processors
    assert len(result.processors) == 1
    assert not len(there.failed)
    names = sorted(path.name for path in (folder / "parts").iterdir())
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == names

    # The first rung is begun here, and goes on there; of the last one it is the other way.
    for executor, left_out in ((lab.Ray(), slice(1, None)), (None, slice(-1, None))):
        for name in [name for name in names if name[0].isdigit()][left_out]:
            (tmp_path / "parts" / name).unlink()
        assert_same_bits(sweep(model, seeds=2, halving=2, folder=tmp_path, executor=executor), result)


def test_what_a_worker_was_at_when_it_was_killed_is_trained_by_another_one(tmp_path):
    def die():
        try:
            (tmp_path / "died").mkdir()
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    model = model_with(loss_that(die))
    expected = sweep(model, folder=tmp_path / "folder")
    for path in (tmp_path / "folder" / "parts").glob("[0-9]*"):  # but for the plan, so that nothing else is asked for
        path.unlink()
    result = sweep(model, folder=tmp_path / "folder", executor=lab.Ray())
    assert (tmp_path / "died").exists()
    assert_same_bits(result, expected)
    assert not result.history.duplicated(["setting", "seed", "epoch"]).any()


def test_a_chunk_that_fails_three_times_is_reported_with_its_settings_and_the_others_go_on(tmp_path):
    # The step is one of the batches of 10; where those are trained is known, so that nobody is asked for their number.
    def loss(y, prediction):
        if os.getpid() != DRIVER and prediction.shape[0] == 10:
            with (tmp_path / "attempts").open("a") as file:
                file.write("x")
            raise OSError("the disk is on fire")
        return keras.ops.mean(keras.ops.square(y - prediction))

    settings = [{"learning_rate": 0.01, "batch_size": 8}, {"learning_rate": 0.02, "batch_size": 10}]
    model = model_with(loss)
    expected = sweep(model, settings, validation_split=0, folder=tmp_path / "folder")
    for path in (tmp_path / "folder" / "parts").glob("[0-9]*"):
        path.unlink()
    with pytest.warns(RuntimeWarning, match=r"1 runs could not be trained.*fire.*learning_rate 0.02, batch_size 10"):
        result = sweep(model, settings, validation_split=0, folder=tmp_path / "folder", executor=lab.Ray())
    assert (tmp_path / "attempts").read_text() == "xxx"
    assert result.failed[["setting", "seed", "batch_size"]].to_numpy().tolist() == [[1, 0, 10]]
    assert "fire" in result.failed.reason[0]
    own = expected.history.loc[expected.history.setting == 0]
    pd.testing.assert_frame_equal(result.history, own, check_exact=True)

    # A sweep that goes on tries it again.
    again = sweep(model, settings, validation_split=0, folder=tmp_path / "folder")
    pd.testing.assert_frame_equal(again.history, expected.history, check_exact=True)


def test_what_a_user_has_to_put_right_is_no_failure_of_a_chunk(tmp_path):
    def refuse():
        raise TypeError("no such loss")

    with pytest.raises(InputError, match=r"cannot be trained as a population.*no such loss"):
        sweep(model_with(loss_that(refuse)), executor=lab.Ray())


def test_chunks_of_a_machine_that_is_gone_are_trained_by_those_that_are_left(ray_cluster, tmp_path):
    def note():
        (tmp_path / ray.get_runtime_context().get_node_id()).touch()

    model = model_with(loss_that(note))
    expected = sweep(model)
    with forking():
        node = ray_cluster.add_node(num_cpus=1)
    ray_cluster.wait_for_nodes()

    def remove(progress):
        if node in ray_cluster.worker_nodes:
            wait_until((tmp_path / node.node_id).exists)  # it is at work
            ray_cluster.remove_node(node, allow_graceful=False)

    settings = [{"learning_rate": rate} for rate in RATES]
    result = sweep(model, settings, executor=lab.Ray(), on_progress=remove)
    assert node not in ray_cluster.worker_nodes
    np.testing.assert_allclose(result.history.loss, expected.history.loss, rtol=1e-5)


def test_a_machine_with_other_versions_is_named_before_anything_is_trained(ray_cluster, tmp_path):
    other = tmp_path / "jax-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 0.0.1\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with forking():
        node = ray_cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": paths})
    ray_cluster.wait_for_nodes()
    try:
        with pytest.raises(
            InputError, match=r"all machines .* have the versions of this .*: \S+ with jax 0.0.1 rather"
        ):
            sweep(model_with(), executor=lab.Ray(), folder=tmp_path / "folder")
    finally:
        ray_cluster.remove_node(node)
    assert not list((tmp_path / "folder" / "parts").glob("[0-9]*"))


def test_the_example_runs():
    assert doctest.testmod(cluster).failed == 0


def test_a_comparison_is_that_of_this_machine():
    model = model_with()
    options = {"optimizers": "adam,momentum", "budget": 4, "epochs": 2, "batch_size": 8, "seeds": 2}
    here = lab.compare(model, X, Y, **options)
    there = lab.compare(model, X, Y, **options, executor=lab.Ray())
    keys = ["optimizer", "stage", "setting", "seed"]
    ours, theirs = (one.runs.sort_values(keys).reset_index(drop=True) for one in (there, here))
    assert ours[keys].equals(theirs[keys])
    for column in ("loss", "val_loss", "test_loss"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-4, err_msg=column)


def test_a_bare_option_and_an_address_train_on_a_cluster(ray_cluster, tmp_path, monkeypatch, capsys):
    """The table of the command line is the same as without, and the model is a file's, whose code goes along."""
    from adamkit import cli
    from adamkit.lab.runs.folder import RunFolder

    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN_MODEL)
    options = ("--data", "digits", "--model", "own.py:build", "--learning-rate", "1e-3..0.1:log:6", "--epochs", "2")
    tables = []
    for way in ([], ["--ray"], ["--ray", ray_cluster.address]):
        folder = f"way-{len(tables)}"
        monkeypatch.setattr(sys, "argv", ["adamkit", "sweep", *options, *way, "--no-report", "--out", folder])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert not ended.value.code, said
        lines = said.out.splitlines()
        begin = next(place for place, line in enumerate(lines) if line.startswith("best   "))
        tables.append((lines[begin : begin + 7], RunFolder.open(folder).read_history()))
        record = RunFolder.open(folder).read_record()
        assert record["as_on_one_machine"] == "bit for bit"
        assert len(record["processors"]) == 1
    for shown, history in tables[1:]:
        assert shown == tables[0][0]
        pd.testing.assert_frame_equal(history, tables[0][1], check_exact=True)


OWN_MODEL = """
import keras


@keras.saving.register_keras_serializable("own")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return FACTOR * x


FACTOR = 2.0


def build(data):
    output = keras.layers.Dense(data.classes, "softmax")
    return keras.Sequential([keras.Input(data.row_shape), keras.layers.Flatten(), Doubled(), output])
"""
