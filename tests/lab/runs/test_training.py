import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.runs import Settings
from adamkit.lab.runs.folder import RunFolder


@pytest.fixture
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


decays = st.floats(0, 1, exclude_max=True)


@given(
    st.builds(
        Settings,
        learning_rate=st.floats(0, 1e30),
        beta_1=decays,
        beta_2=decays,
        epsilon=st.floats(0, 1),
        weight_decay=st.floats(0, 10),
        amsgrad=st.booleans(),
        moment_dtype=st.sampled_from(["float32", "bfloat16"]),
        metrics=st.none() | st.lists(st.text()),
        epochs=st.integers(1, 2**32 - 1),
        seed=st.integers(0, 2**32 - 1),
        data=st.text(min_size=1),
    )
)
def test_settings_come_back_from_json_as_they_were(settings):
    assert Settings.of(json.loads(json.dumps({"settings": asdict(settings)}))) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        *({"learning_rate": -1}, {"learning_rate": "1"}, {"learning_rate": float("inf")}, {"epsilon": None}),
        *({"beta_1": 1}, {"beta_2": float("nan")}, {"validation_split": 1.0}, {"amsgrad": 1}, {"shuffle": "no"}),
        *({"epochs": 0}, {"epochs": 1.0}, {"epochs": True}, {"batch_size": -1}, {"seed": 2**32}, {"seed": None}),
        *({"backend": "numpy"}, {"backend": None}, {"moment_dtype": "float16"}, {"data": None}, {"model": ""}),
        *({"metrics": "mse"}, {"metrics": [1]}, {"target": 3}, {"loss": []}),
    ],
)
def test_a_wrong_setting_is_named(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=rf"^{name} must be .*Received: .*{name}="):
        Settings(**wrong)


def test_another_backend_than_that_of_this_process_is_refused():
    with pytest.raises(InputError, match="Keras runs on jax in this process, not on torch"):
        runs.prepare(Settings(backend="torch"))


@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_the_record_names_files_so_that_they_are_found_from_anywhere(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np, keras\n\ndef data():\n    return np.random.rand(8, 2), [0, 1] * 4\n\n"
        "def model():\n    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
    )
    settings = Settings(data="mine.py:data", model="mine.py:model", loss="hinge", seed=5)
    record = runs.prepare(settings).record
    assert record["settings"]["data"] == f"{tmp_path / 'mine.py'}:data"
    assert record["settings"]["model"] == f"{tmp_path / 'mine.py'}:model"
    assert record["model"]["fingerprint"]
    assert record["loss"] == "hinge"
    json.dumps(record)
    again = runs.prepare(Settings.of(record)).record
    assert again["data"]["fingerprint"] == record["data"]["fingerprint"]  # random, with the same seed
    assert runs.differences(record | {"status": "done"}, again) == []
    other = runs.prepare(Settings(**record["settings"] | {"seed": 6})).record
    assert runs.differences(record | {"status": "done"}, other) == ["the data differ from the earlier run's"]


def test_the_first_difference_is_that_of_a_bit(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.5, np.nan, 0.25], "seconds": [1.0, 1.0, 1.0]})
    folder.write_history(history)
    assert runs.first_difference(folder, history.assign(seconds=2.0)) is None
    assert runs.first_difference(folder, history[:1]) is None
    assert runs.first_difference(folder, history.assign(loss=[0.5, np.nan, np.nextafter(0.25, 1)])) == 3
    assert runs.first_difference(folder, history.assign(loss=[0.5, 0.5, 0.25])) == 2
    assert runs.first_difference(folder, history.rename(columns={"loss": "val_loss"})) == 1
