"""What `describe` says of a Keras optimizer is what it holds."""

import math

import keras
import numpy as np
import pytest

from adamkit.keras import Adam

SHAPES = [("kernel", (64, 64), "bfloat16"), ("bias", (64,), "float32"), ("scale", (), "float16")]

BYTES = {"uint8": 1, "int16": 2, "bfloat16": 2, "int32": 4, "float32": 4}


@pytest.mark.parametrize(
    "options",
    [{}, {"amsgrad": True, "use_ema": True, "gradient_accumulation_steps": 2}, {"parameter_rounding": "nearest"}],
    ids=str,
)
@pytest.mark.parametrize("moment_dtype", ["float32", "bfloat16", "int8"])
def test_the_bytes_are_those_of_the_optimizers_variables(options, moment_dtype):
    variables = [keras.Variable(np.ones(shape), dtype=dtype, name=name) for name, shape, dtype in SHAPES]
    groups = {"k*": {"learning_rate_multiplier": 4.0}, "b*": {"weight_decay": 0.0}, "?ia?": {"learning_rate": 0.5}}
    optimizer = Adam(0.125, weight_decay=0.25, moment_dtype=moment_dtype, groups=groups, **options)
    with pytest.raises(ValueError, match=r"must be built .*: optimizer.build\(model.trainable_variables\)"):
        optimizer.describe()
    optimizer.build(variables)
    found = optimizer.describe()
    kept = optimizer.variables[2:]  # after step count and learning rate
    assert found.bytes == sum(math.prod(v.shape) * BYTES[v.dtype] for v in kept)
    assert found.parameters == sum(int(np.prod(shape)) for _, shape, _ in SHAPES)
    rows = {row.group: row for row in found.rows}
    assert (rows["k*"].settings["learning_rate"], rows["k*"].settings["weight_decay"]) == (0.5, 0.25)
    assert (rows["b*, ?ia?"].settings["learning_rate"], rows["b*, ?ia?"].settings["weight_decay"]) == (0.5, 0.0)
    assert rows["all others"].settings["learning_rate"] == 0.125
    assert ("remainder int16" in rows["k*"].formats) == ("parameter_rounding" not in options)


def test_lazy_is_a_setting():
    optimizer = Adam(lazy="exact")
    optimizer.build([keras.Variable(np.ones((4, 2)))])
    assert optimizer.describe().rows[0].settings["lazy"] == "exact"
