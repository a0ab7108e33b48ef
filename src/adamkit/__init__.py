"""Adam, the optimizer: exact, small and tuned.

`import adamkit` imports no framework. The parts are `adamkit.keras` (Keras 3) and `adamkit.lab` (train a model and
watch it); `adamkit.init` and `adamkit.step` are Adam on NumPy arrays.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamkit.functional import AdamState, init, step

__version__ = "0.1.0"
__all__ = ["AdamState", "__version__", "init", "step"]


def __getattr__(name: str) -> Any:
    """Import NumPy only when the functions on arrays are used."""
    if name in ("AdamState", "init", "step"):
        return getattr(import_module("adamkit.functional"), name)
    raise AttributeError(f"module 'adamkit' has no attribute {name!r}")
