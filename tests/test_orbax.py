"""State of `adamkit.optax` in Orbax's checkpoints: what comes back is what was saved, in every format."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adamkit import moments
from adamkit.optax import adam, apply_updates


@pytest.mark.slow
@pytest.mark.tried(
    "Orbax, in every format",
    "the same bits after the next step",
)
@pytest.mark.parametrize("moment_dtype", moments.FORMATS)
@pytest.mark.parametrize("parameter_rounding", ["nearest", "compensated"])
def test_a_run_goes_on_from_orbax_to_the_same_bits(moment_dtype, parameter_rounding, tmp_path):
    import orbax.checkpoint

    rng = np.random.default_rng(0)
    shapes = {"kernel": (64, 65), "bias": (64,)}
    params = {name: jnp.asarray(rng.normal(size=shape), "bfloat16") for name, shape in shapes.items()}
    gradients = {name: jnp.asarray(rng.normal(size=shape), "float32") for name, shape in shapes.items()}
    optimizer = adam(0.01, moment_dtype=moment_dtype, parameter_rounding=parameter_rounding)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(gradients, state, params)
        return apply_updates(params, updates, state), state

    before = step(params, optimizer.init(params))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", before)
        checkpointer.wait_until_finished()
        after = checkpointer.restore(tmp_path / "checkpoint", jax.tree.map(jnp.zeros_like, before))
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for one, other in zip(jax.tree.leaves(step(*before)), jax.tree.leaves(step(*after)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
