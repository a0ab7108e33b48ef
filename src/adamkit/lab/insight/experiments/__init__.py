"""What people say of Adam, each claim as an experiment that runs in seconds.

An experiment is a file here with a function `show(*, seed=0, …) -> Shown`; its sizes are arguments. Adam in it is
`adamkit.rule` (through `optimizers.adam`) or `adamkit.keras.Adam`; others are optax's and Keras's own.
"""

from importlib import import_module

from adamkit.lab.errors import InputError, listed, nearest
from adamkit.lab.insight.experiments.catalog import EXPERIMENTS, Experiment
from adamkit.lab.insight.experiments.shown import Shown

__all__ = ["EXPERIMENTS", "Experiment", "Shown", "find", "run"]


def find(name: str) -> Experiment:
    """The experiment of that name; InputError, with the nearest name, where there is none."""
    if name not in EXPERIMENTS:
        raise InputError(
            f"an experiment must be one of {listed(EXPERIMENTS)}. Received: {name!r}.{nearest(name, EXPERIMENTS)}"
        )
    return EXPERIMENTS[name]


def run(name: str, *, seed: int = 0) -> Shown:
    """Run an experiment.

    Args:
        name: One of `EXPERIMENTS`.
        seed: Of everything in it that is drawn at random: a whole number >= 0.

    Returns:
        What it shows: a paragraph, figures and charts. The same seed gives the same on the same machine.

    Raises:
        InputError: There is no such experiment, or `seed` is none.

    Example:
        >>> shown = run("divergence")
        >>> sorted(shown.charts)
        ['divergence']
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InputError(f"seed must be a whole number >= 0 and < 2³¹. Received: seed={seed!r}")
    module = find(name).module
    return import_module(f"adamkit.lab.insight.experiments.{module}").show(seed=seed)
