"""A tool that is missing, cannot be reached or fails is one warning, and the run is what it would have been."""

import sys
import warnings

import pandas as pd
import pytest

from adamkit import lab
from adamkit.lab import logs
from adamkit.lab.errors import InputError
from adamkit.lab.logs.named import names_in
from tests.lab.logs.conftest import EPOCHS, X, Y, compiled


class Failing(logs.Tool):
    """Takes some epochs, and then no more."""

    package = "json"

    def __init__(self, fails_in="add"):
        self.fails_in, self.ended = fails_in, False

    def begin(self, name, parameters, within=None, *, many=False):
        return FailingRun(self)


class FailingRun(logs.Run):
    where = "nowhere"

    def __init__(self, tool):
        self.tool = tool

    def add(self, rows):
        if self.tool.fails_in == "add":
            raise ConnectionError("the disk of the server is full")

    def end(self, status, figures, files):
        self.tool.ended = True
        if self.tool.fails_in == "end":
            raise ConnectionError("the disk of the server is full")


@pytest.fixture(scope="module")
def alone():
    """What training gives without a tool."""
    return lab.train(compiled(), X, Y, epochs=EPOCHS).history.drop(columns="seconds")


def trained(alone, log, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = lab.train(compiled(), X, Y, epochs=EPOCHS, log=log)
    pd.testing.assert_frame_equal(result.history.drop(columns="seconds"), alone, check_exact=True)
    (warning,) = (one for one in caught if issubclass(one.category, RuntimeWarning))
    assert says in str(warning.message)


@pytest.mark.parametrize("fails_in", ["add", "end"])
def test_one_that_fails_is_one_warning(alone, fails_in):
    trained(alone, Failing(fails_in), "Failing does not have all of this run: ConnectionError: the disk of the server")


def test_one_that_is_not_installed_is_named_with_its_extra(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    trained(alone, logs.WandB(), "WandB, which is not installed; install it with: pip install 'adamkit[wandb]'")


def test_one_that_cannot_be_reached_is_one_warning(alone, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    trained(alone, logs.MLflow(uri="http://127.0.0.1:9"), "MLflow does not have all of this run")


def test_a_run_that_fails_is_ended(monkeypatch):
    tool = Failing(fails_in="")
    with pytest.raises(ZeroDivisionError):
        lab.train(compiled(), X, Y, epochs=EPOCHS, on_epoch=lambda row: 1 // 0, log=tool)
    assert tool.ended


def test_what_is_no_tool_is_named():
    with pytest.raises(TypeError, match=r"log must be a tool of adamkit.lab.logs, or several. Received: str"):
        lab.train(compiled(), X, Y, epochs=1, log="tensorboard")
    with pytest.raises(InputError, match="experiment must be a name"):
        logs.MLflow(experiment=" ")


def test_names_are_checked():
    assert names_in("mlflow, tensorboard,mlflow") == ["mlflow", "tensorboard"]
    assert names_in(None) == []
    with pytest.raises(InputError, match=r"log must be among tensorboard, mlflow, wandb.*Did you mean 'wandb'"):
        names_in("wandbb")
