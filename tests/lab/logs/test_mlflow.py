"""MLflow's client finds in a SQLite store what was sent."""

import pandas as pd
import pytest

from tests.lab.logs.conftest import EPOCHS

pytestmark = pytest.mark.slow  # seconds, all in all


@pytest.fixture(scope="module")
def client(sent):
    from mlflow.tracking import MlflowClient

    return MlflowClient()


@pytest.fixture(scope="module")
def runs(client):
    experiment = client.get_experiment_by_name("adamkit")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def losses(client, run):
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "loss")}


def test_a_training_has_its_parameters_curves_and_files(sent, client, runs):
    run = runs["one"]
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.1"
    assert run.data.params["epochs"] == str(EPOCHS)
    assert losses(client, run) == dict(zip(sent.trained.epoch, sent.trained.loss, strict=True))
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["history.parquet", "model.keras"]


def test_the_runs_of_a_sweep_are_nested_in_one(sent, client, runs):
    whole = runs["many"]
    assert [file.path for file in client.list_artifacts(whole.info.run_id)] == ["history.parquet", "summary.csv"]
    table = pd.read_csv(client.download_artifacts(whole.info.run_id, "summary.csv"))
    pd.testing.assert_frame_equal(table, sent.swept.summary)
    parent = f"tags.`mlflow.parentRunId` = '{whole.info.run_id}'"
    nested = client.search_runs([whole.info.experiment_id], parent)
    assert len(nested) == 4
    for (setting, seed), history in sent.swept.history.groupby(["setting", "seed"]):
        run = runs[f"setting {setting} seed {seed}"]
        assert run.data.params == {"learning_rate": str(history.learning_rate.iloc[0]), "seed": str(seed)}
        assert losses(client, run) == dict(zip(history.epoch, history.loss, strict=True))
