"""Parts of Adam left out in a sweep: each setting as `lab.train` trains it."""

import numpy as np

from adamkit import lab
from adamkit.keras import Adam
from tests.lab import some_models


def test_a_sweep_over_switches_trains_each_as_lab_train_does():
    def model(**options):
        make, objective, *_ = some_models.CASES["subclassed"]
        return some_models.compiled(make, objective, Adam(0.01, **options))

    x, y = some_models.TABLE, some_models.LABELS[:, None]
    space = {"bias_correction": [True, False], "adaptivity": [True, False]}
    result = lab.sweep(model(), x, y, space=space, epochs=2, batch_size=25, shuffle=False)
    assert len(result.settings) == 4
    for place, setting in enumerate(result.settings):
        alone = lab.train(model(**setting), x, y, epochs=2, batch_size=25, shuffle=False)
        swept = result.history[result.history.setting == place].loss
        np.testing.assert_allclose(swept, alone.history.loss, rtol=1e-5)
    assert result.history.groupby("setting").loss.last().nunique() == 4
