"""MLflow: a run in an experiment, those of a sweep or comparison nested in one, through `MlflowClient`."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamkit.lab.logs.tool import DONE, INTERRUPTED, Run, Tool, check_name

_AT_ONCE = 1000  # metrics in one request: MLflow's limit
_PARAMETERS_AT_ONCE = 100  # likewise
_STATUS = {DONE: "FINISHED", INTERRUPTED: "KILLED"}


class MLflow(Tool):
    """Runs in an MLflow experiment.

    Args:
        experiment: Its name; it is made where there is none. Default: `MLFLOW_EXPERIMENT_NAME`, or `"adamkit"`.
        uri: Where the tracking store is: `"sqlite:///mlflow.db"`, `"https://…"`. Default: `MLFLOW_TRACKING_URI`, or
            what MLflow uses without one.

    Raises:
        ValueError: `experiment` or `uri` is no name (`InputError`).
    """

    package = "mlflow"

    def __init__(self, experiment: str | None = None, uri: str | None = None):
        check_name("experiment", experiment)
        check_name("uri", uri)
        self.experiment, self.uri = experiment, uri

    def begin(self, name: str, parameters: Mapping[str, Any], within: Run | None = None, *, many: bool = False) -> Run:
        """See `Tool.begin`."""
        if within is not None:
            assert isinstance(within, _Run)
            return _Run(within.client, within.experiment, name, parameters, {"mlflow.parentRunId": within.id})
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        experiment = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "adamkit")
        found = client.get_experiment_by_name(experiment)
        identity = client.create_experiment(experiment) if found is None else found.experiment_id
        return _Run(client, identity, name, parameters, {})


class _Run(Run):
    def __init__(self, client: Any, experiment: str, name: str, parameters: Mapping[str, Any], tags: dict[str, str]):
        from mlflow.entities import Param

        self.client, self.experiment = client, experiment
        self.id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self._epoch = 0
        for part in _parts([Param(name, str(value)) for name, value in parameters.items()], _PARAMETERS_AT_ONCE):
            client.log_batch(self.id, params=part)

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        now = _milliseconds()
        self._epoch = int(rows[-1]["epoch"])
        self._send(
            [(name, value, now, int(row["epoch"])) for row in rows for name, value in row.items() if name != "epoch"]
        )

    def end(self, status: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
        self._send([(name, value, _milliseconds(), self._epoch) for name, value in figures.items()])
        for file in files:
            self.client.log_artifact(self.id, str(file))
        self.client.set_terminated(self.id, _STATUS.get(status, "FAILED"))

    @property
    def where(self) -> str:
        return f"run {self.id} of experiment {self.experiment} at {self.client.tracking_uri}"

    def _send(self, metrics: list[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        for part in _parts([Metric(*one) for one in metrics], _AT_ONCE):
            self.client.log_batch(self.id, metrics=part)


def _parts(values: list[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]


def _milliseconds() -> int:
    return round(time.time() * 1000)
