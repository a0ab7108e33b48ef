"""Adam for Keras 3, on the JAX, TensorFlow and PyTorch backends."""

from adamkit.keras.adam import Adam
from adamkit.keras.groups import without_decay
from adamkit.keras.recalibrating import Recalibrate, recalibrate
from adamkit.keras.watching import Watch

Adam.__module__ = __name__  # the public place, which saved models and pickles name

__all__ = ["Adam", "Recalibrate", "Watch", "recalibrate", "without_decay"]
