"""Keras's own tests of Adam, from the installed package, with adamkit's Adam in the place of Keras's."""

import pytest
from keras.src.optimizers import adam_test

from adamkit.keras import Adam


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """Puts adamkit's Adam into Keras's module, and collects what its tests make."""
    optimizers = []

    def make(*args, **options):
        optimizers.append(Adam(*args, **options))
        return optimizers[-1]

    monkeypatch.setattr(adam_test, "Adam", make)
    yield optimizers
    assert optimizers, "the test did not use adamkit's Adam"


# An Embedding's sparse gradient has no static shape in TensorFlow, which warns when it becomes dense.
@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")
class TestAdam(adam_test.AdamTest):
    """All tests of Keras's class."""
