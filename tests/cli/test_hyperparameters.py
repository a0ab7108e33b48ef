"""What is declared once reaches the commands, the spaces, the settings of a run and the docs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from adamkit.cli import app
from adamkit.cli.hyperparameters import OF_A_RUN, described
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.lab.runs import Settings

DOCS = Path(__file__).parents[2] / "docs"
OF_ADAM = [known for known in HYPERPARAMETERS.values() if known.of in ("schedule", "adam")]
OF_TRAINING = [known for known in HYPERPARAMETERS.values() if known.of == "training"]


def parsed(command, *arguments):
    """The values that a command is called with."""
    return typer.main.get_command(app).commands[command].make_context(command, list(arguments)).params


@pytest.mark.parametrize("known", [*OF_ADAM, *OF_TRAINING], ids=lambda known: known.name)
def test_train_has_an_option_of_the_declared_type_and_default_and_sweep_one_of_text(known):
    option = f"--{known.name.replace('_', '-')}"
    typed = [option] if known.kind == "flag" else [option, "1"]
    for arguments, value in (((), known.default), (typed, known.type(1))):
        found = parsed("train", *arguments)[known.name]
        assert (type(found), found) == (known.type, value)
    assert getattr(Settings(), known.name) == known.default
    assert parsed("sweep", option, "1,2")[known.name] == "1,2"
    assert parsed("sweep")[known.name] is None


NEW = """
import sys

from adamkit.lab import hyperparameters
from adamkit.lab.hyperparameters import HYPERPARAMETERS, Hyperparameter

for name, of in (("patience_of_saints", "adam"), ("wing_span", "icarus")):
    HYPERPARAMETERS[name] = Hyperparameter(name, 3, "How long to wait.", "π", kind="integer", minimum=2, of=of)

from adamkit.cli import app
from adamkit.lab import spaces
from adamkit.lab.runs import Settings

print(Settings().patience_of_saints, Settings(patience_of_saints=4).patience_of_saints)
print(spaces.grid({"patience_of_saints": "2..4:3"}))
for command in ("train", "range", "sweep"):
    app([command, "--help"], standalone_mode=False)
"""


def test_one_that_is_added_reaches_all_of_them():
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=True)
    settings, grid, *help_text = done.stdout.splitlines()
    assert settings == "3 4"
    assert grid == "[{'patience_of_saints': 2}, {'patience_of_saints': 3}, {'patience_of_saints': 4}]"
    shown = " ".join(help_text)
    assert len(re.findall(r"--patience-of-saints .*?π: how long to wait\.", shown)) == 3
    assert "--wing-span" not in shown  # another optimizer's


def rows(page, heading):
    """The cells of the first table after a heading."""
    _, _, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")
    table = re.search(r"^\|.*\|\n\| ---.*\n((?:\|.*\|\n)+)", rest, re.M)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def default(known):
    return ("on" if known.default else "off") if known.kind == "flag" else f"{known.default:g}"


def flag(known):
    return f"`--{known.name.replace('_', '-')}`"


def test_the_table_of_adam_in_the_page_on_training_has_what_is_declared():
    expected = [[flag(known), default(known), described(known).removesuffix(".")] for known in OF_ADAM]
    shown = [row for row in rows("train.md", "### Adam") if row[0] not in ("`--epsilon-hat`", "`--moment-dtype`")]
    assert shown == expected
    of_training = {row[0]: row[1:] for row in rows("train.md", "### Training and output")}
    for known in OF_TRAINING:
        assert of_training[flag(known)][0] == default(known)
        assert of_training[flag(known)][1].startswith(described(known).removesuffix("."))


def test_the_table_of_the_space_in_the_page_on_sweeps_has_what_is_declared():
    _, _, rest = (DOCS / "sweep.md").read_text(encoding="utf-8").partition("| hyperparameter | option |")
    shown = [line.strip("|").split("|") for line in rest.partition("\n\n")[0].splitlines()[2:]]
    declared = [known for known in HYPERPARAMETERS.values() if known.of in OF_A_RUN]
    assert [line[0].strip() for line in shown] == [f"`{known.name}`" for known in declared]
    for (_, option, scale, text), known in zip(shown, declared, strict=True):
        assert option.strip() == flag(known)
        assert scale.strip() == (
            "" if known.kind == "flag" else f"{known.scale}, in 1 − β" if known.is_decay else known.scale
        )
        assert text.strip().startswith(described(known).removesuffix("."))


def test_the_page_on_adam_explains_each_that_has_a_symbol():
    shown = {row[0]: row[2] for row in rows("adam.md", "## The hyperparameters")}
    for known in OF_ADAM:
        if known.symbol:
            usual = re.findall(r"\d[\d.e-]*", shown[f"{known.symbol} `{known.name}`"])
            assert known.default in map(float, usual)
