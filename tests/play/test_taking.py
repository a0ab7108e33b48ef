"""What is taken along: code that gives the same run, an ordinary sweep folder, and the arithmetic by hand."""

import base64
import itertools
from dataclasses import replace

import numpy as np
import pytest

from adamkit import functional, lab
from adamkit.lab.errors import InputError
from adamkit.lab.runs import comparisons, sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.play import code, inside, saving
from adamkit.play.archive import Run
from adamkit.play.folders import of_run
from adamkit.play.subject import of_model
from adamkit.play.training import Bench
from adamkit.play.words import words
from tests.play.conftest import SETTINGS, Client

pytestmark = pytest.mark.slow  # seconds, all in all

CHANGED = {"learning_rate": 0.02, "beta_1": 0.5, "warmup_steps": 10, "cosine_alpha": 0.25, "weight_decay": 0.01}
OTHERS = [
    {},
    {"amsgrad": True},
    {"bias_correction": False},
    {"adaptivity": False},
    {"beta_1": 0.3, "weight_decay": 0.1},
]


@pytest.fixture(scope="module")
def some(served, subject):
    """Runs of some learning rates."""
    chosen = [subject.start.with_values({"learning_rate": 10.0 ** -(i / 3)}) for i in range(12)]
    curves = np.stack(list(served.play.bench.epochs(chosen, served.play.bench.size)), axis=1)
    return [Run(choice, curve, alone=False) for choice, curve in zip(chosen, curves, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "values"), [("adam", CHANGED), ("momentum", {"learning_rate": 0.02})])
def test_code_in_keras_repeats_the_run_as_it_stands(served, subject, optimizer, values):
    """From the data to the figures: it is what repeats the runs of optimizers that `adamkit train` does not have."""
    choice = subject.defaults[optimizer].with_values(values)
    names = {}
    exec(code.lines(subject, choice)["Keras"], names)
    history = names["result"].history
    curve = np.concatenate(list(served.play.bench.epochs([choice])))
    np.testing.assert_allclose(history[list(subject.columns)].to_numpy(), curve, rtol=1e-5)


@pytest.mark.slow  # PyTorch takes long to import
def test_code_in_pytorch_has_the_schedule(subject):
    import torch

    choice = subject.start.with_values(CHANGED)
    names = {"model": torch.nn.Linear(2, 1)}
    exec(code.lines(subject, choice)["PyTorch"], names)
    steps = choice.epochs * -(-choice.rows // choice.batch_size)
    assert [names["factor"](step) for step in (0, 5, 10, steps)] == pytest.approx([0, 0.5, 1, 0.25])
    assert names["optimizer"].defaults["decoupled_weight_decay"] is True


@pytest.mark.parametrize("values", [{}, {"weight_decay": 0.1}, {"amsgrad": True}, {"cosine_alpha": 0.5}], ids=str)
def test_code_in_optax_makes_the_steps_of_adamkit_step(subject, values):
    choice = subject.start.with_values({"learning_rate": 0.02, "beta_1": 0.5} | values)
    names = {}
    exec(code.lines(subject, choice)["optax"], names)
    theta, largest = np.float32([0.5, -0.2]), np.zeros(2, np.float32) if values.get("amsgrad") else None
    ours, theirs = functional.AdamState(0, np.zeros(2, np.float32), np.zeros(2, np.float32), largest), None
    expected = theta
    theirs = names["optimizer"].init(theta)
    steps = choice.epochs * -(-choice.rows // choice.batch_size)
    alpha = choice.setting["cosine_alpha"]
    for t, gradient in enumerate(np.float32([[1, -2], [0.1, 0.3], [-1, 1]])):
        change, theirs = names["optimizer"].update(gradient, theirs, theta)
        theta = theta + np.asarray(change)
        rate = 0.02 * (alpha + (1 - alpha) * (1 + np.cos(np.pi * t / steps)) / 2)
        expected, ours = functional.step(
            expected, gradient, ours, learning_rate=float(rate), beta_1=0.5, epsilon=choice.setting["epsilon"],
            weight_decay=choice.setting["weight_decay"],
        )  # fmt: skip
    np.testing.assert_allclose(theta, expected, rtol=2e-6)


def test_code_says_what_a_framework_cannot(subject):
    lines = code.lines(subject, subject.start.with_values({"bias_correction": False, "adaptivity": False}))
    for framework in ("PyTorch", "optax"):
        assert lines[framework] == (
            f"# adamkit's Adam for {framework} cannot leave out bias correction or leave out adaptivity.\n"
        )
    assert "bias_correction=False, adaptivity=False" in lines["Keras"]


def test_a_sweep_folder_is_one_that_the_commands_know(subject, some, tmp_path):
    folder = saving.as_sweep(subject, some, subject.start, tmp_path / "kept")
    from adamkit.lab.insight.reports import sweep_folder

    assert "12 settings" in sweep_folder.page_of(folder, folder.read_record()).html()
    best = sweeps.best_settings(folder)
    assert best.learning_rate == min(some, key=lambda run: run.curve[-1, 2]).choice.setting["learning_rate"]
    again, found = of_run(folder.path, {})
    assert {run.choice: run.curve.tobytes() for run in found} == {run.choice: run.curve.tobytes() for run in some}
    assert again.start.setting == subject.start.setting | {"learning_rate": best.learning_rate}


@pytest.mark.slow
def test_a_comparison_brings_the_runs_of_its_search(tmp_path):
    settings = replace(SETTINGS, epochs=2, test_split=0.2)
    with RunFolder.create(tmp_path / "compared") as folder:
        comparisons.execute(comparisons.Plan(settings, ["momentum", "sgd+ema"], budget=2, seeds=1), folder)
    begun, found = of_run(folder.path, {})
    assert {run.choice.optimizer for run in found} == {"momentum"}  # the page has no mean of the weights
    assert len(found) >= 2
    run = found[0]
    curve = np.concatenate(list(Bench(begun).epochs([run.choice])))
    np.testing.assert_allclose(run.curve, curve, rtol=1e-4)
    assert of_run(folder.path, {"seed": 1})[1] == []  # other rows


def test_words_are_of_the_runs(subject, some):
    said = words(some, subject.start, subject.columns, subject.objective)
    assert said["settings"] == len(some)
    assert any("learning rates" in line for line in said["lines"])
    assert words(some[:1], subject.start, subject.columns, subject.objective)["lines"] == []


@pytest.mark.parametrize("values", OTHERS, ids=str)
def test_a_weight_saw_what_adamkit_step_computes(served, subject, values):
    choice = subject.start.with_values(CHANGED | {"warmup_steps": 0} | values)
    steps = inside.weight(served.play.bench, choice, 0, 3, 30)["steps"]
    assert len(steps) == 30
    for before, after in itertools.pairwise(steps):
        assert np.float32(before["after"]) == np.float32(after["theta"])
        # The compiled step may round an operation less than NumPy's.
        python = np.uint32(int(before["python"]["theta"], 16)).view(np.float32)
        np.testing.assert_allclose(before["after"], python, rtol=1e-5, atol=1e-7)


def test_inside_agrees_with_the_steps_of_a_weight(served, subject):
    """Of a model's single bias at the output: its root of v̂ and its step, from the steps that it saw."""
    choice = subject.start.with_values({"learning_rate": 0.01, "cosine_alpha": 0.5})
    found = inside.variables(served.play.bench, choice)
    place = found["shapes"].index([1])
    a_epoch = -(-choice.rows // choice.batch_size)
    last = inside.weight(served.play.bench, choice, place, 0, a_epoch)["steps"][-1]
    v = np.uint32(int(last["python"]["v"], 16)).view(np.float32)
    row = found["epochs"][0][place]
    assert row["root"] == pytest.approx(np.sqrt(v / (1 - 0.999**a_epoch)), rel=1e-3)
    assert row["update"] == pytest.approx(abs(last["after"] - last["theta"]) / abs(last["after"]), rel=1e-3)
    assert len(found["epochs"]) == choice.epochs


@pytest.mark.parametrize("own", [{"nesterov": True}, {"groups": {"kernel": {"learning_rate": 0.1}}}], ids=str)
def test_inside_is_refused_where_it_would_be_of_another_rule(own):
    import keras

    from adamkit.keras import Adam

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=Adam(0.01, **own), loss="mse")
    x = np.zeros((8, 3), "float32")
    played = of_model(
        model, x, x[:, 0], epochs=1, batch_size=4, validation_data=None, validation_split=0.0, shuffle=True, seed=0
    )
    with pytest.raises(InputError, match=rf"can be shown of Adam alone\. Received: Adam with {next(iter(own))}"):
        inside.variables(Bench(played), played.start)
    assert next(iter(own)) in code.lines(played, played.start)["optax"]  # an argument, or why it has none


@pytest.mark.slow
def test_by_hand_gives_the_bits_of_python_over_ten_thousand_steps(tabs, served):
    rng = np.random.default_rng(0)
    n = 10_000
    floats = rng.standard_normal((n, 3)).astype(np.float32) * np.float32(10.0) ** rng.integers(-6, 3, (n, 3))
    roots = np.abs(rng.standard_normal((n, 2)) * 10.0 ** rng.integers(-8, 2, (n, 2))).astype(np.float32)
    cases, expected = [], []
    for (theta, g, m), (v, most) in zip(floats.astype(np.float32), roots, strict=True):
        k = {
            "learning_rate": 10.0 ** rng.uniform(-6, 0), "beta_1": float(rng.choice([0.0, 0.3, 0.9, 0.99])),
            "beta_2": float(1 - 10.0 ** rng.uniform(-5, 0)), "epsilon": float(rng.choice([0.0, 1e-7, 1e-3])),
            "weight_decay": float(rng.choice([0.0, 0.01])), "bias_correction": bool(rng.random() < 0.8),
            "adaptivity": bool(rng.random() < 0.8),
        }  # fmt: skip
        t, largest = int(rng.integers(1, 10_000)), most if rng.random() < 0.3 else None
        state = functional.AdamState(t - 1, m, v, largest)
        with np.errstate(all="ignore"):
            after, new = functional.step(theta, g, state, **k)
        given = {"theta": float(theta), "g": float(g), "m": float(m), "v": float(v)}
        cases.append([given | {"largest": None if largest is None else float(largest)}, t, k])
        expected.append([f"{np.float32(x).view(np.uint32):08x}" for x in (after, new.first_moment, new.second_moment)])
    tab = tabs(served.address)
    got = tab.page.evaluate(
        """async (cases) => {
            const { step, hexadecimal } = await import("play/hand.js");
            return cases.map(([given, t, k]) => {
                const made = step(given, t, k);
                return [made.theta, made.m, made.v].map(hexadecimal);
            });
        }""",
        cases,
    )
    different = [i for i in range(n) if got[i] != expected[i]]
    assert not different, (len(different), cases[different[0]], got[different[0]], expected[different[0]])


def test_a_notebook_shows_the_page_of_ones_own_model():
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.03, beta_1=0.8), loss="mse")
    x = np.random.default_rng(0).random((40, 3), "float32")
    y = x.sum(axis=1)
    page = lab.play(model, x, y, epochs=2, validation_split=0.25)
    try:
        client = Client(page)
        names = {"model": model, "x": x, "y": y}
        exec(client.ask("POST", "/api/code", {"choice": {}})[1]["Keras"], names)  # the model's own loss is kept
        # What the page trains afterwards starts where the model was.
        _, run = client.train()
        columns = client.ask("GET", "/api/subject")[1]["columns"]
        last = np.frombuffer(base64.b64decode(run["curve"]), "<f4").reshape(-1, len(columns))[-1]
        np.testing.assert_allclose(names["result"].history["loss"].iloc[-1], last[0], rtol=1e-5)
        assert f'src="{page.address}"' in page._repr_html_()
        status, described = client.ask("GET", "/api/subject")
        values = described["start"]["values"]
        assert (status, described["rows"], values["learning_rate"], values["beta_1"]) == (200, 30, 0.03, 0.8)
    finally:
        page.close()
    with pytest.raises(ValueError, match="epochs must be a whole number >= 1"):
        lab.play(model, x, x, epochs=0)
