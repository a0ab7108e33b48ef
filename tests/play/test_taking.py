"""What is taken along: code that gives the same run, an ordinary sweep folder, and the arithmetic by hand."""

import itertools

import numpy as np
import pytest

from adamkit import functional, lab
from adamkit.lab import runs
from adamkit.lab.runs import sweeps
from adamkit.play import code, inside, saving
from adamkit.play.archive import Run
from adamkit.play.folders import of_run
from adamkit.play.words import words

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
def test_code_in_keras_gives_the_run(subject, figures):
    choice = subject.start.with_values(CHANGED)
    steps = choice.epochs * -(-choice.rows // choice.batch_size)
    lines = code.lines(choice, steps, "binary_crossentropy")
    prepared = runs.training.prepare(subject.settings)
    names = {"model": prepared.model, "x": prepared.train.x, "y": prepared.train.y}
    text = lines["Keras"].replace("lab.train(", "result = lab.train(")
    exec(text, names)
    np.testing.assert_allclose(names["result"].history.loss.iloc[-1], figures(choice.as_json())["loss"], rtol=1e-5)
    import torch

    torch_names = {"model": torch.nn.Linear(2, 1)}
    exec(lines["PyTorch"], torch_names)
    assert [torch_names["factor"](step) for step in (0, 5, 10, steps)] == pytest.approx([0, 0.5, 1, 0.25])
    plain = code.lines(subject.start.with_values({"cosine_alpha": 0.5}), steps, "mse")["optax"]
    optax_names = {}
    exec(plain, optax_names)
    assert hasattr(optax_names["optimizer"], "update")


def test_a_sweep_folder_is_one_that_the_commands_know(subject, some, tmp_path):
    folder = saving.as_sweep(subject, some, subject.start, tmp_path / "kept")
    from adamkit.lab.insight.reports import sweep_folder

    assert "12 settings" in sweep_folder.page_of(folder, folder.read_record()).html()
    best = sweeps.best_settings(folder)
    assert best.learning_rate == min(some, key=lambda run: run.curve[-1, 2]).choice.setting["learning_rate"]
    again, found = of_run(folder.path, {})
    assert {run.choice: run.curve.tobytes() for run in found} == {run.choice: run.curve.tobytes() for run in some}
    assert again.start.setting == subject.start.setting | {"learning_rate": best.learning_rate}


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

    from tests.play.conftest import Client

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.03, beta_1=0.8), loss="mse")
    x = np.random.default_rng(0).random((40, 3), "float32")
    page = lab.play(model, x, x.sum(axis=1), epochs=2, validation_split=0.25)
    try:
        assert f'src="{page.address}"' in page._repr_html_()
        status, described = Client(page).ask("GET", "/api/subject")
        values = described["start"]["values"]
        assert (status, described["rows"], values["learning_rate"], values["beta_1"]) == (200, 30, 0.03, 0.8)
    finally:
        page.close()
    with pytest.raises(ValueError, match="epochs must be a whole number >= 1"):
        lab.play(model, x, x, epochs=0)
