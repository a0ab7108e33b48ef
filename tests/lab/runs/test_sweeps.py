"""A sweep by names and numbers can be written down, taken up again, and its best setting trained."""

import json
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.insight import reports
from adamkit.lab.runs import Settings, comparisons, sweeps
from adamkit.lab.runs.folder import RunFolder
from adamkit.lab.runs.sweeps import Plan
from adamkit.lab.sweeping import spaces

SPACE = spaces.grid({"learning_rate": [0.001, 0.01, 0.1, 3e38], "beta_1": [0.5, 0.9]})


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Settings that train a small model on small data."""
    file = tmp_path_factory.mktemp("mine") / "mine.py"
    file.write_text(
        "import numpy as np, keras\n\n"
        "def data():\n    x = np.random.rand(30, 3).astype('float32')\n    return x, x.sum(axis=1) > 1.5\n\n"
        "def model():\n    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, 'sigmoid')])\n"
    )
    return Settings(
        data=f"{file}:data", model=f"{file}:model", loss="binary_crossentropy", metrics=["accuracy"],
        epochs=3, batch_size=8, validation_split=0.2, seed=4,
    )  # fmt: skip


@pytest.fixture
def no_charts(monkeypatch):
    """They take seconds, and have tests of their own."""
    monkeypatch.setattr(reports, "attempt", lambda make, folder, warn: None)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "sweep", kind="sweep")


def last_of(history):
    return history.loc[history.epoch == history.epoch.max()].drop(columns=["epoch", "seconds"], errors="ignore")


# Plans.


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seeds": 0}, {"seeds": None}, {"seeds": 1.5}, {"seeds": True}, {"halving": 1}, {"halving": 2.5}),
        *({"patience": 0}, {"patience": "3"}),
    ],
    ids=str,
)
def test_a_wrong_number_is_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(
        InputError, match=rf"^{name} must be a whole number >= \d and < 2³¹\. Received: {name}={value!r}"
    ):
        Plan(Settings(), SPACE, **wrong)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "space must have at least one setting"),
        ([{"speed": 1}], "A hyperparameter must be one of .*Received: 'speed'"),
        ([{"beta_1": 1.0}], "beta_1 must be"),
        ([{"beta_1": 0.9}, {"beta_2": 0.9}], "the same hyperparameters in all settings"),
        ("1e-5..1e-1", "space must be a mapping of names to values, or a list"),
    ],
)
def test_a_wrong_space_is_named(space, message):
    with pytest.raises(InputError, match=message):
        Plan(Settings(), space)


def test_a_sweep_of_more_runs_than_can_be_listed_or_numbered_is_refused():
    with pytest.raises(InputError, match=r"at most 1,000,000 runs. Received: 8 settings with 100,000,000 seeds each"):
        Plan(Settings(), SPACE, seeds=100_000_000)
    with pytest.raises(
        InputError, match=r"seed must be <= 2³² - seeds, 4294967294. Received: seed=4294967295, seeds=2"
    ):
        Plan(Settings(seed=2**32 - 1), SPACE, seeds=2)
    with pytest.raises(InputError, match=r"seed must be <= 2³² - seeds"):
        comparisons.Plan(Settings(seed=2**32 - 1, validation_split=0.2, test_split=0.2), seeds=2)


def test_a_sweep_runs_on_jax():
    with pytest.raises(InputError, match=r"a sweep runs on the backend jax\. Received: backend='torch'"):
        Plan(Settings(backend="torch"), SPACE)


def test_a_mapping_is_the_grid_of_it():
    space = {"learning_rate": "1e-3..1e-1:3", "amsgrad": [True, False]}
    assert Plan(Settings(), space).space == spaces.grid(space)


# Execution.


@pytest.mark.slow
def test_a_sweep_leaves_a_folder_with_all_that_it_gave(mine, folder):
    plan = Plan(mine, SPACE, seeds=2)
    records = []
    result = sweeps.execute(plan, folder, lambda progress: records.append(folder.read_record()["status"]))
    assert set(records) == {"running"}
    record = folder.read_record()
    best = result.best().iloc[0]
    assert record["status"] == "done"
    assert record["best"] == {"setting": SPACE[int(best.setting)], "objective": best["mean"]}
    assert record["seconds"] > 0
    pd.testing.assert_frame_equal(folder.read_history(), result.history, check_exact=True)
    summary = pd.read_csv(folder.path / "summary.csv")
    pd.testing.assert_frame_equal(summary, result.summary)
    assert summary.diverged.tolist() == [0] * 6 + [1] * 2
    json.dumps(record)
    assert sweeps.again(folder) == plan


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_the_best_setting_trains_to_what_the_sweep_found(mine, folder, tmp_path):
    result = sweeps.execute(Plan(replace(mine, epsilon=1e-3), SPACE), folder)
    settings = sweeps.best_settings(folder)
    best = result.best().iloc[0]
    assert settings == replace(mine, epsilon=1e-3, learning_rate=best.learning_rate, beta_1=best.beta_1)
    assert sweeps.best_settings(folder, epochs=7) == replace(settings, epochs=7)
    trained = runs.execute(runs.prepare(settings), RunFolder.create(tmp_path / "run"), lambda row: None)
    theirs = last_of(result.history.loc[result.history.setting == best.setting])
    ours = last_of(trained.history)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("swept", [{}, {"warmup_steps": [0, 5]}, {"cosine_alpha": [0.1, 1.0]}], ids=str)
def test_a_schedule_in_the_settings_or_the_space_is_that_of_a_run(mine, folder, tmp_path, swept):
    settings = replace(mine, warmup_steps=3, cosine_alpha=0.5)
    space = spaces.grid({"learning_rate": [0.1], **swept})
    result = sweeps.execute(Plan(settings, space), folder)
    assert sweeps.again(folder) == Plan(settings, space)
    alone = replace(settings, **space[0])
    trained = runs.execute(runs.prepare(alone), RunFolder.create(tmp_path / "run"), lambda row: None)
    ours, theirs = last_of(trained.history), last_of(result.history.loc[result.history.setting == 0])
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
    best = result.best().iloc[0]
    assert sweeps.best_settings(folder) == replace(settings, **space[int(best.setting)])


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_ctrl_c_is_written_down_and_the_sweep_taken_up_again(mine, folder, tmp_path):
    plan = Plan(mine, spaces.grid({"learning_rate": "1e-4..1:12", "batch_size": [8, 12]}), halving=3)
    undisturbed = sweeps.execute(plan, RunFolder.create(tmp_path / "undisturbed"))
    presses = iter([signal.SIGINT])  # a second would end it at once
    first = sweeps.execute(plan, folder, lambda progress: [signal.raise_signal(press) for press in presses])
    assert first.interrupted
    assert folder.read_record()["status"] == "interrupted"
    assert folder.read_record()["best"]["setting"] in plan.space
    second = sweeps.execute(sweeps.again(folder), folder)
    assert folder.read_record()["status"] == "done"
    assert not second.interrupted
    pd.testing.assert_frame_equal(second.history, undisturbed.history, check_exact=True)


@pytest.mark.usefixtures("no_charts")
def test_a_failure_is_written_down(mine, folder):
    def fail(progress):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        sweeps.execute(Plan(mine, SPACE), folder, fail)
    assert folder.read_record()["status"] == "failed"
    with pytest.raises(InputError, match="must be a sweep with a finished setting, and has none"):
        sweeps.best_settings(folder)
    with pytest.raises(InputError, match="objective must be one of loss, accuracy"):
        sweeps.execute(Plan(mine, SPACE, objective="-auc"), folder)
    with pytest.raises(InputError, match="folder must be new, or hold a part of this very sweep"):
        sweeps.execute(Plan(mine, SPACE[1:]), folder)


@pytest.mark.tried(
    "one row of 25,000 changed, then `--resume`",
    "refused; nothing is written",
)
@pytest.mark.parametrize("of", ["sweep", "comparison"])
def test_data_that_changed_in_one_row_are_not_mixed_with_those_of_before(tmp_path, folder, of):
    file = tmp_path / "data.csv"
    rows = np.random.default_rng(0).random((25_000, 2)).round(6)
    table = pd.DataFrame(rows, columns=["a", "b"]).assign(y=rows[:, 0] > 0.5)
    table.to_csv(file, index=False)
    settings = Settings(data=str(file), target="y", model="logistic", validation_split=0.2, test_split=0.2)
    execute = sweeps.execute if of == "sweep" else comparisons.execute
    plan = Plan(settings, SPACE) if of == "sweep" else comparisons.Plan(settings)
    folder.write_record(runs.prepare(settings).record)
    before = folder.read_record()
    table.loc[12_345, "y"] ^= True
    table.to_csv(file, index=False)
    with pytest.raises(InputError, match=r"data.csv must be those that .* was begun with, and have changed since"):
        execute(plan, folder)
    assert folder.read_record() == before


# Folders of something else.


def test_a_folder_of_a_run_is_none_of_a_sweep_nor_the_other_way_round(tmp_path):
    run, sweep = RunFolder.create(tmp_path / "run"), RunFolder.create(tmp_path / "sweep")
    run.write_record({"settings": {}})
    sweep.write_record({"settings": {}, "sweep": {"space": SPACE}})
    before = Settings(split="shuffled", encode=False)  # what runs did whose record does not say
    assert runs.again(run) == before
    assert sweeps.again(sweep) == Plan(before, SPACE)
    with pytest.raises(InputError, match=r"run must be the folder of a sweep, and its run\.json has none"):
        sweeps.again(run)
    with pytest.raises(InputError, match="sweep must be the folder of a training run, and is that of a sweep"):
        runs.again(sweep)
    with pytest.raises(InputError, match="must be the folder of a sweep"):
        sweeps.best_settings(run)


@pytest.mark.parametrize(
    "damaged",
    [[], {}, {"space": []}, {"space": [{"momentum": 1}]}, {"space": SPACE, "seeds": "1"}, {"space": SPACE, "rungs": 3}],
    ids=str,
)
def test_a_damaged_record_is_bad_input(folder, damaged):
    folder.write_record({"settings": {}, "sweep": damaged})
    with pytest.raises(InputError):
        sweeps.again(folder)


@pytest.mark.parametrize("damaged", [3, {}, {"setting": 3}, {"setting": {"momentum": 1}}, {"setting": {"beta_1": 2}}])
def test_a_damaged_best_setting_is_bad_input(folder, damaged):
    folder.write_record({"settings": {}, "sweep": {"space": SPACE}, "best": damaged})
    with pytest.raises(InputError):
        sweeps.best_settings(folder)
