"""The server: it trains what `lab.train` trains, refuses strangers, and forgets a tab that is gone."""

import base64
import io
import logging
import threading

import numpy as np
import pytest

from adamkit.lab import runs
from adamkit.play import neighbourhood
from adamkit.play.safety import LARGEST_BODY
from adamkit.play.server import Play
from adamkit.play.serving import Serving
from adamkit.play.workers import SupersededError
from tests.play.conftest import Client


def curve(run, subject):
    return np.frombuffer(base64.b64decode(run["curve"]), "<f4").reshape(-1, len(subject.columns))


def test_a_run_is_that_of_lab_train(client, subject, figures):
    values = {"learning_rate": 0.02, "beta_2": 0.99, "weight_decay": 0.01, "warmup_steps": 10, "cosine_alpha": 0.5}
    status, run = client.train(values=values)
    assert (status, run["alone"]) == (200, True)
    expected = figures(run["choice"])
    np.testing.assert_allclose(curve(run, subject)[-1], expected[list(subject.columns)], rtol=1e-5)


def test_runs_of_a_population_are_those_of_runs_alone(served, subject):
    bench = served.play.bench
    chosen = [subject.start.with_values({"learning_rate": 0.001 * (i + 1)}) for i in range(3)]
    together = list(bench.epochs(chosen, bench.size))
    for place, choice in enumerate(chosen):
        alone = np.stack([figures[0] for figures in bench.epochs([choice])])
        np.testing.assert_allclose(np.stack(together)[:, place], alone, rtol=1e-4)


def test_handlers_that_others_log_with_stay_open(subject):
    handler = logging.StreamHandler(io.StringIO())
    handler.close = handler.stream.close  # as absl's does, which TensorFlow and Orbax bring
    serving = Serving(Play(subject))
    serving.start()
    serving.close()
    assert not handler.stream.closed


def test_what_is_wrong_is_said(client):
    assert client.train(values={"learning_rate": "much"})[0] == 400
    assert "learning_rate must be a finite number >= 0" in client.train(values={"learning_rate": "much"})[1]["error"]
    assert client.ask("POST", "/api/train", "[]")[0] == 400
    assert client.ask("POST", "/api/train", {"tab": "a b", "choice": {}})[0] == 400
    assert client.ask("POST", "/api/wish", {"tab": "a", "choice": {}, "axes": ["beta_1", "beta_3"]})[0] == 400
    assert client.ask("GET", "/static/../server.py")[0] == 404


def test_strangers_are_refused(client):
    good = {"tab": "t", "choice": {"values": {"learning_rate": -1}}}
    refused = [
        client.ask("GET", "/api/subject", host="attacker.example:80"),
        client.ask("GET", "/api/subject", origin="http://attacker.example"),
        client.ask("GET", "/", origin="null"),
        client.ask("GET", "/static/main.js", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"),
        client.ask("POST", "/api/train", good, origin="http://127.0.0.1:1"),
    ]
    assert [status for status, _ in refused] == [403] * len(refused)
    assert client.ask("POST", "/api/train", good, content_type="text/plain")[0] == 415
    assert client.ask("POST", "/api/train", "x" * (LARGEST_BODY + 1))[0] == 413
    assert client.ask("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200  # a link
    assert client.ask("POST", "/api/train", good, origin=f"http://{client.host}")[0] == 400  # its own page


def test_other_machines_need_the_token(subject):
    serving = Serving(Play(subject), host="0.0.0.0")
    serving.start()
    try:
        client = Client(serving)
        path = serving.address.partition(client.host)[2]
        assert client.ask("GET", "/")[0] == 401
        assert client.ask("GET", "/?token=wrong")[0] == 401
        assert client.ask("GET", path)[0] == 303
        token = path.partition("token=")[2]
        cookie = f"adamkit-play-{client.host.rpartition(':')[2]}={token}"
        assert client.ask("GET", "/api/subject", cookie=cookie)[0] == 200
    finally:
        serving.close()


def test_a_later_request_takes_the_place_of_one_that_waits(served, subject):
    """No clock: the first waits behind one whose training does not go on before the others are asked for."""
    workers = served.play.workers
    held, asked = threading.Event(), threading.Event()
    train = workers.bench.epochs

    def waiting(chosen, n=None):
        for row in train(chosen, n):
            held.set()
            asked.wait(60)
            yield row

    workers.bench.epochs = waiting
    try:
        first = workers.ask("a", subject.start.with_values({"beta_1": 0.11}))
        assert held.wait(60)
        second = workers.ask("b", subject.start.with_values({"beta_1": 0.12}))
        third = workers.ask("b", subject.start.with_values({"beta_1": 0.13}))
        workers.leave("a")
        asked.set()
        with pytest.raises(SupersededError):
            second.result(60)
        with pytest.raises(SupersededError):
            first.result(60)
        assert third.result(60).choice.setting["beta_1"] == 0.13
        assert subject.start.with_values({"beta_1": 0.11}) not in served.play.archive  # it was not trained to its end
    finally:
        del workers.bench.epochs


def test_a_map_whose_cells_need_several_programs_is_filled_whole(subject):
    """Keras's optimizers have other code for a momentum of 0, which is one of its slider's stops."""
    play = Play(subject)
    workers, choice = play.workers, subject.defaults["rmsprop"]
    axes = ("learning_rate", "momentum")
    wanted = set(neighbourhood.cells(choice, play.stops, axes, neighbourhood.LEVELS[0]))
    workers._seconds[(choice.program, choice.epochs)] = 0.01  # as once one has been asked for
    workers.wish("t", choice, axes)
    while wanted:
        together = workers._next()
        assert len({one.program for one in together}) == 1
        wanted -= set(together)


def test_the_command_of_a_choice_repeats_it(subject):
    choice = subject.start.with_values({"learning_rate": 0.01, "bias_correction": False})
    assert subject.command(choice) == (
        "adamkit train --learning-rate 0.01 --no-bias-correction --epochs 4 --validation-split 0.2"
    )
    assert runs.Settings(epochs=4, validation_split=0.2).seed == subject.seed
