"""Choices: every slider's stops are values that the command line takes, and a choice survives its way as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab.errors import InputError
from adamkit.lab.hyperparameters import HYPERPARAMETERS
from adamkit.play import choices
from adamkit.play.choices import ADAM, NAMES, checked, stops


def test_sliders_stop_at_accepted_values_and_at_their_default(subject):
    described = subject.describe()
    for name, slider in described["sliders"].items():
        known = HYPERPARAMETERS[name]
        assert [known.check(value) for value in slider["stops"]] == slider["stops"] == sorted(set(slider["stops"]))
        for choice in subject.defaults.values():
            assert choice.setting.get(name, slider["stops"][0]) in slider["stops"]
    own = {name for name in HYPERPARAMETERS if HYPERPARAMETERS[name].of != "other"}
    assert own == set(subject.defaults[ADAM].setting)


@given(data=st.data())
def test_a_choice_is_the_same_after_its_way_as_json(subject, data):
    name = data.draw(st.sampled_from(NAMES))
    begun = subject.defaults[name]
    drawn = {
        each: data.draw(st.sampled_from(stops(HYPERPARAMETERS[each], 100, 1000, [value])))
        for each, value in begun.values
    }
    choice = begun.with_values(drawn)
    again = checked(json.loads(json.dumps(choice.as_json())), subject.defaults)
    assert again == choice
    assert hash(again) == hash(choice)
    assert again.program == choice.program


def test_what_is_wrong_is_refused_in_the_words_of_the_command_line(subject):
    refused = {
        "learning_rate must be a finite number >= 0. Received: learning_rate=-1": {"values": {"learning_rate": -1}},
        "beta_1 must be a finite number >= 0 and < 1. Received: beta_1=1": {"values": {"beta_1": 1}},
        "batch_size must be a whole number >= 1 and < 2³¹. Received: batch_size=0": {"values": {"batch_size": 0}},
        "epochs must be a whole number from 1 to 4. Received: epochs=5": {"epochs": 5},
        "rows must be a whole number from 1 to 800. Received: rows=True": {"rows": True},
        "optimizer must be one of": {"optimizer": "adm"},
        "Did you mean 'beta_1'?": {"values": {"beta1": 0.5}},
        "moment_dtype must be float32 with sgd": {"optimizer": "sgd", "moment_dtype": "int8"},
        "moment_dtype must be one of": {"moment_dtype": ["float32"]},
        "a choice must be a mapping": [1],
    }
    for message, record in refused.items():
        with pytest.raises(InputError) as error:
            checked(record, subject.defaults)
        assert message in str(error.value)


def test_every_optimizer_of_comparisons_can_be_chosen():
    kinds = {choices.OPTIMIZERS[name].kind for name in choices.OPTIMIZERS}
    assert {"Adam", *(choices.OPTIMIZERS[name].kind for name in NAMES if name != ADAM)} == kinds
