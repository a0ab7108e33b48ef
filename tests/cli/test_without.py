"""`--without` leaves parts of Adam out in train and sweep."""

import pytest

from adamkit.cli.options import without_parts
from adamkit.lab.errors import InputError


def test_parts_become_hyperparameters():
    given = {"without": "bias-correction, momentum", "epochs": 3}
    assert without_parts(given) == {"epochs": 3, "bias_correction": False, "beta_1": 0.0}
    assert without_parts(given, as_text=True) == {"epochs": 3, "bias_correction": "false", "beta_1": "0.0"}
    assert without_parts({"epochs": 3}) == {"epochs": 3}


def test_what_is_no_part_or_given_twice_is_named():
    with pytest.raises(InputError, match="Did you mean 'adaptivity'"):
        without_parts({"without": "adaptvity"})
    with pytest.raises(InputError, match="one of --without momentum and --beta-1 must be given, not both"):
        without_parts({"without": "momentum", "beta_1": 0.5})


@pytest.mark.slow
def test_train_and_sweep_have_it(command_line, tmp_path):
    code, out, _ = command_line("train", "--without", "adaptivity", "--epochs", 1, "--out", tmp_path / "train")
    assert code == 0
    assert "adaptivity False" in out
    settings = ("--epochs", 1, "--learning-rate", "0.1,1", "--out", tmp_path / "sweep")
    assert command_line("sweep", "--without", "adaptivity,momentum", *settings)[0] == 0
