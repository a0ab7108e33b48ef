"""Adam, the optimizer: exact, small and tuned.

`import adamkit` imports no framework. The parts are `adamkit.keras` (Keras 3), `adamkit.torch`, `adamkit.optax` and
`adamkit.lab` (train a model and watch it); `adamkit.init` and `adamkit.step` are Adam on NumPy arrays, and
`adamkit.convert` moves a run from one framework to another.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamkit.conversion import convert
    from adamkit.functional import AdamState, init, step

__version__ = "0.1.0"
__all__ = ["AdamState", "__version__", "convert", "init", "step"]


def __getattr__(name: str) -> Any:
    """Import a function, and what it needs, only when it is used."""
    if name in ("AdamState", "init", "step"):
        return getattr(import_module("adamkit.functional"), name)
    if name == "convert":
        return import_module("adamkit.conversion").convert
    raise AttributeError(f"module 'adamkit' has no attribute {name!r}")
