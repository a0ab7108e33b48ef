"""`fit` that is interrupted and taken up by Keras's own means goes on to the same bits, in every format."""

import keras
import numpy as np
import pytest

from adamkit import moments, rounding
from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy

pytestmark = pytest.mark.slow
# Every format and every rounding once.
FORMS = list(zip((*moments.FORMATS, "int8"), reversed(rounding.ROUNDINGS), strict=True))
ROWS = np.random.default_rng(0).normal(size=(16, 64)).astype("float32")
FIT = {"x": ROWS, "y": ROWS[:, :1], "batch_size": 8, "shuffle": False, "verbose": 0}


def compiled(moment_dtype, parameter_rounding):
    keras.utils.set_random_seed(1)
    # Without Dropout: Keras's files do not hold the state of its random numbers, whatever the optimizer.
    layers = [keras.layers.Dense(64, dtype="bfloat16"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(Adam(0.01, moment_dtype=moment_dtype, parameter_rounding=parameter_rounding), loss="mse")
    return model


class Interruption(keras.callbacks.Callback):
    """In the middle of the third epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 5:
            raise KeyboardInterrupt


def assert_same_state(one, other):
    for a, b in zip(
        (*one.variables, *one.optimizer.variables), (*other.variables, *other.optimizer.variables), strict=True
    ):
        assert keras.backend.standardize_dtype(a.dtype) == keras.backend.standardize_dtype(b.dtype)
        np.testing.assert_array_equal(as_numpy(a), as_numpy(b), err_msg=a.path)


@pytest.mark.tried(
    "`BackupAndRestore`, `ModelCheckpoint` and `model.save`, in every format",
    "the bits of a `fit` that never stopped",
)
@pytest.mark.parametrize(("moment_dtype", "parameter_rounding"), FORMS)
def test_backup_and_checkpoint_and_save_go_on_to_the_same_bits(moment_dtype, parameter_rounding, tmp_path):
    straight = compiled(moment_dtype, parameter_rounding)
    every_epoch = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    straight.fit(**FIT, epochs=3, callbacks=[every_epoch])

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    interrupted = compiled(moment_dtype, parameter_rounding)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(**FIT, epochs=3, callbacks=[backup, Interruption()])
    taken_up = compiled(moment_dtype, parameter_rounding)
    taken_up.fit(**FIT, epochs=3, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert len(taken_up.history.epoch) == 1  # it did not begin anew
    assert_same_state(straight, taken_up)

    loaded = keras.models.load_model(tmp_path / "2.keras")  # as `model.save` writes it
    loaded.fit(**FIT, epochs=3, initial_epoch=2)
    assert_same_state(straight, loaded)
