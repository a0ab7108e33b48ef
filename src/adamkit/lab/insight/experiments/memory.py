"""Bytes and loss of every format of the moments, over the same learning rates."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import adamkit.optax
from adamkit import moments
from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of
from adamkit.lab.insight.memory import table

HIDDEN = 64  # so that the weights are 4096, enough for blocks of 8 bits


def show(*, seed: int = 0, rates: int = 9, steps: int = 150, seeds: int = 6) -> Shown:
    """Digits and one hidden layer, from the same starts and in the same order for every format."""
    rows, etas = tasks.digits(seed=seed), np.geomspace(1e-4, 0.1, rates)
    options: Any = {"steps": steps, "batch_size": 64, "seeds": seeds, "hidden": HIDDEN, "seed": seed}

    def losses(kind: str) -> np.ndarray:
        def optimizer(rate):
            return of_optax(adamkit.optax.adam(lambda _: rate, moment_dtype=kind))

        return tasks.fit(optimizer, jnp.array(etas), rows, **options).loss

    fitted = tasks.at_once({kind: partial(losses, kind) for kind in moments.FORMATS})
    large = {row.moment_dtype: row for row in table([10**9]) if row.dtype == "float32"}
    best = int(np.argmin(fitted["float32"].mean(axis=1)))
    figures = table_of(
        [
            {"moments in": kind, "bytes of moments a parameter": large[kind].moments / 1e9}
            | {"bytes in all a parameter": large[kind].total / 1e9, "best loss": loss.mean(axis=1).min()}
            | {"best η": etas[np.argmin(loss.mean(axis=1))]}
            | _change(loss[best] - fitted["float32"][best])
            for kind, loss in fitted.items()
        ]
    )
    points = table_of(
        [
            {"learning rate": eta, "loss": row.mean(), "lowest": row.min(), "highest": row.max(), "moments in": kind}
            for kind, loss in fitted.items()
            for eta, row in zip(etas, loss, strict=True)
        ]
    )
    chart = pictures.lines(
        points, "learning rate", "loss", "moments in", log="xy", low="lowest", high="highest",
        title=f"Loss on digits after {steps} steps, by the format of the moments",
        notes=[f"Mean and range of {seeds} starts, the same for every format"], dashed=list(moments.FORMATS[1:]),
    )  # fmt: skip
    by = figures.set_index("moments in")
    narrow = by.iloc[1:]
    harmed = narrow.index[narrow["change"] > narrow["luck (±)"]].tolist()
    paragraph = (
        "Adam's two moments take, in bytes a parameter, "
        + ", ".join(f"{number(row.iloc[0])} in {kind}" for kind, row in by.iterrows())
        + f"; parameters, gradients and moments together {number(by.iloc[0, 1])}, {number(by.iloc[1, 1])} and "
        f"{number(by.iloc[2, 1])}. With the best η the loss is {number(by.iloc[0, 2])} in float32, "
        f"{number(by.iloc[1, 2])} in bfloat16 and {number(by.iloc[2, 2])} in int8. From the same starts at the η that "
        f"is best for float32, the loss changes by {narrow['change'].iloc[0]:+.2g} ± {narrow['luck (±)'].iloc[0]:.1g} "
        f"with bfloat16 and by {narrow['change'].iloc[1]:+.2g} ± {narrow['luck (±)'].iloc[1]:.1g} with int8: "
        + whether(
            not harmed,
            "no harm beyond luck, so the limit can be lifted here.",
            f"on this task {' and '.join(harmed)} are not free.",
        )
    )
    return Shown(paragraph, figures, {"memory": chart})


def _change(differences: np.ndarray) -> dict[str, float]:
    """From float32, in pairs: the mean over seeds, and what other seeds might give."""
    return {"change": differences.mean(), "luck (±)": 2 * differences.std(ddof=1) / np.sqrt(len(differences))}
