"""TensorBoard's own readers find what was sent, and its HParams dashboard the sweep."""

import math

import numpy as np
import pandas as pd
import pytest

from adamkit.lab import logs
from adamkit.lab.comparing.result import Comparison
from adamkit.lab.logs.tables import send_comparison
from tests.lab.logs.conftest import EPOCHS


def read(folder):
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    return events


def curve(events, run, tag):
    """(epochs, values)."""
    found = [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(run, tag)]
    return [list(column) for column in zip(*found, strict=True)]


def session_groups(folder, events):
    """What the HParams dashboard shows, of which its parallel coordinates are drawn."""
    from tensorboard import context
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    provider = MultiplexerDataProvider(events, str(folder))
    backend = backend_context.Context(base_plugin.TBContext(logdir=str(folder), data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100, aggregation_type=api_pb2.AGGREGATION_AVG, allowed_statuses=[api_pb2.STATUS_SUCCESS]
    )
    handler = list_session_groups.Handler(context.RequestContext(), backend, "", request)
    return handler.run().session_groups


@pytest.fixture(scope="module")
def events(sent):
    return read(sent.folder / "board")


def test_a_training_is_a_run_with_its_curves(sent, events):
    steps, losses = curve(events, "one", "loss")
    assert steps == [1, 2, 3]
    np.testing.assert_array_equal(losses, sent.trained.loss.to_numpy().astype("float32"))


def test_each_run_of_a_sweep_has_its_curves(sent, events):
    for (setting, seed), history in sent.swept.history.groupby(["setting", "seed"]):
        _, losses = curve(events, f"many/runs/setting {setting} seed {seed}", "loss")
        np.testing.assert_array_equal(losses, history.loss.to_numpy().astype("float32"))


def test_the_hparams_dashboard_has_each_setting_with_the_mean_of_its_seeds(sent, events):
    groups = session_groups(sent.folder / "board", events)
    swept = {group.hparams["learning_rate"].number_value: group for group in groups if len(group.sessions) == 2}
    assert len(groups) == 3  # the training is one too
    summary = sent.swept.summary.set_index("learning_rate")["mean"]
    assert sorted(swept) == sorted(summary.index)
    for rate, group in swept.items():
        (loss,) = (one for one in group.metric_values if one.name.tag == "loss")
        assert loss.training_step == EPOCHS
        assert math.isclose(loss.value, summary[rate], rel_tol=1e-6)


def test_a_run_of_the_same_name_takes_the_place_of_the_one_before(tmp_path):
    tool = logs.TensorBoard(tmp_path)
    for epochs in (5, 2):
        run = tool.begin("run", {"seed": 1})
        run.add([{"epoch": n, "loss": 1 / n} for n in range(1, epochs + 1)])
        run.end("done", {"test_loss": 0.5}, [])
    found = read(tmp_path)
    assert curve(found, "run", "loss") == [[1, 2], [1.0, 0.5]]
    assert curve(found, "run", "test_loss") == [[2], [0.5]]


def test_a_run_that_ends_before_its_first_epoch_leaves_nothing(tmp_path):
    logs.TensorBoard(tmp_path).begin("run", {}).end("failed", {}, [])
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_has_each_optimizers_own_hyperparameters_and_test_figures(tmp_path):
    of_run = {"optimizer": ["adam", "sgd"], "stage": "search", "setting": 0, "seed": 0}
    own = {"learning_rate": [0.1, 0.2], "beta_1": [0.9, math.nan]}
    history = pd.DataFrame(of_run | own | {"epoch": 1, "loss": [0.25, 0.5]})
    runs = pd.DataFrame(of_run | own | {"loss": [0.25, 0.5], "test_loss": [0.75, 1.0]})
    result = Comparison(history, runs, {"interrupted": False})
    places = send_comparison([logs.TensorBoard(tmp_path)], "duel", {"budget": 1}, result, [], pytest.fail)
    assert places == [f"TensorBoard: tensorboard --logdir {tmp_path}, run duel"]
    found = read(tmp_path)
    groups = {group.hparams["optimizer"].string_value: group for group in session_groups(tmp_path, found)}
    assert "beta_1" in groups["adam"].hparams
    assert "beta_1" not in groups["sgd"].hparams
    assert curve(found, "duel/runs/sgd search 0 seed 0", "test_loss") == [[1], [1.0]]
