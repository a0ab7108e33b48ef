"""Models by name, and the loss and metrics that fit what they predict."""

from adamkit.lab.models.named import NAMES, build, load
from adamkit.lab.models.objectives import objective

__all__ = ["NAMES", "build", "load", "objective"]
