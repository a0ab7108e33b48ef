"""Adam for JAX, as gradient transformations with optax's signatures and state."""

from adamkit.optax.automatic import Prodigy
from adamkit.optax.conversion import from_optax, to_optax
from adamkit.optax.describing import describe
from adamkit.optax.guard import Guarded
from adamkit.optax.state import Float32Parameters, Int8AdamState, Int8AmsgradState, ScheduleFree
from adamkit.optax.transform import adam, adamw, amsgrad
from adamkit.optax.updates import apply_updates, schedule_free_eval_params

__all__ = [
    "Float32Parameters",
    "Guarded",
    "Int8AdamState",
    "Int8AmsgradState",
    "Prodigy",
    "ScheduleFree",
    "adam",
    "adamw",
    "amsgrad",
    "apply_updates",
    "describe",
    "from_optax",
    "schedule_free_eval_params",
    "to_optax",
]
