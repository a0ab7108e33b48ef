"""Decay in the gradient and decoupled decay: two coordinates, and the maps of η and λ (Loshchilov and Hutter 2019)."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, descend
from adamkit.lab.insight.experiments.shown import Shown, number, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

L2, DECOUPLED = "L2, in the gradient", "decoupled"
LARGE, USUAL = "large", "usual"
_LARGER = 5.0  # times the usual start
_FEW = 0.02  # share of the rows: what decay gains below this is no gain
DECAYS = {L2: (1e-3, 1.0), DECOUPLED: (10**-2.5, 10**-0.5)}  # λ, and what a step shrinks a weight by


def show(
    *,
    seed: int = 0,
    etas: int = 7,
    points: int = 9,
    steps: int = 100,
    seeds: int = 4,
    starts: Sequence[str] = (LARGE, USUAL),
) -> Shown:
    """Held-out digits over η and decay, with few rows; η falls along a cosine, as in the paper.

    Once from a large start and right labels, where decay has to erase the start; once from the usual one and wrong
    labels, where it has to balance the gradients.
    """
    shrinks = {name: np.asarray(two_coordinates(name == DECOUPLED, seed)) for name in (L2, DECOUPLED)}
    rows = {
        LARGE: tasks.digits(300, test_rows=1000, seed=seed),
        USUAL: tasks.digits(200, test_rows=1000, label_noise=0.2, seed=seed),
    }
    maps = tasks.at_once(
        {
            (start, name): partial(
                _map, rows[start], name, etas, points, steps, seeds, _LARGER if start == LARGE else 1.0, seed
            )
            for start in starts
            for name in DECAYS
        }
    )
    charts = {
        f"weight-decay{suffix}": pictures.heat_maps(
            stacked([maps[start, name] for name in DECAYS]), "η", "decay", "share wrong", "decay_as",
            title=f"Share of held-out digits that are wrong, from a {start} start",
            notes=["Decay: λ for L2; for decoupled decay η·λ, what a step shrinks a weight by. Framed: the best"],
        )
        for start, suffix in ((LARGE, ""), (USUAL, "-usual-start"))
        if start in starts
    }  # fmt: skip
    figures = table_of(
        [
            {"start": start, "decay_as": name, "share wrong": one["share wrong"].min()} | gains(one)
            for (start, name), one in maps.items()
        ]
    )
    for place in (0, 1):
        shrunk = [shrinks[name][place] for name in figures["decay_as"]]
        figures[f"decay of a coordinate with gradients of {(1, 100)[place]}"] = shrunk
    by = {(row["start"], row["decay_as"]): row for row in figures.to_dict("records")}
    return Shown(_in_words(by, shrinks), figures, charts)


def _map(rows: Any, name: str, etas: int, points: int, steps: int, seeds: int, start: float, seed: int) -> Any:
    """The share of held-out rows that are wrong at each η and decay."""
    grid = np.array(list(itertools.product(np.geomspace(10**-2.5, 0.1, etas), np.geomspace(*DECAYS[name], points))))

    def optimizer(own):
        def falling(step):
            return own[0] * (1 + jnp.cos(jnp.pi * (step - 1) / steps)) / 2

        return adam(falling, weight_decay=own[1], decoupled=name == DECOUPLED)

    # The paper's λ of decoupled decay is what a step shrinks by, which is η·λ here.
    own = grid[:, 1] / grid[:, 0] if name == DECOUPLED else grid[:, 1]
    fitted = tasks.fit(
        optimizer, (jnp.array(grid[:, 0]), jnp.array(own)), rows,
        steps=steps, batch_size=32, seeds=seeds, hidden=32, start=start, seed=seed,
    )  # fmt: skip
    wrong = 1 - fitted.test_accuracy.mean(axis=1)
    return table_of(grid, columns=["η", "decay"]).assign(decay_as=name, **{"share wrong": wrong})


def two_coordinates(decoupled: bool, seed: int, runs: int = 2000, steps: int = 400) -> jax.Array:
    """How fast the mean of many runs shrinks a step, for gradients of noise of size 1 and 100; η = 0.001, λ = 0.1."""
    half = np.random.default_rng(seed).normal(size=(steps, runs // 2, 2)) * [1.0, 100.0]
    noises = np.concatenate([half, -half], axis=1)  # each beside its mirror image, so that noise cancels in the mean
    optimizer = adam(0.001, weight_decay=0.1, decoupled=decoupled)
    start = jnp.ones((runs, 2))
    end = jax.jit(lambda noises: descend(optimizer, lambda _, noise: noise, start, noises, keep=False)[0])(noises)
    return -jnp.log(end.mean(axis=0)) / steps


def gains(table: Any) -> dict[str, float]:
    """What decay gains at each η over the smallest decay of the map, and whether one decay serves all η.

    Returns:
        The mean gain, as a share of the rows, with the best decay for each η, and with the one that is best on average;
        the gain at the smallest η; and by how many decades the best decay moves for each decade of η, over those where
        it gains anything (NaN where these are fewer than 3).
    """
    wrong = table.pivot(index="η", columns="decay", values="share wrong")
    values, decays = wrong.to_numpy(), np.log10(wrong.columns.to_numpy(float))
    gained = values[:, :1] - values
    places = [(np.log10(eta), _lowest(decays, row)) for eta, row in wrong.iterrows() if row.iloc[0] - row.min() > _FEW]
    x, y = np.transpose(places) if len(places) >= 3 else (np.zeros(0), np.zeros(0))
    return {
        "gain, decay tuned for each η": float(gained.max(axis=1).mean()),
        "gain, one decay for all": float(gained.mean(axis=0).max()),
        "gain at the smallest η": float(gained[0].max()),
        "slope of the best decay over η, in decades": float(np.polyfit(x, y, 1)[0]) if len(x) else np.nan,
    }


def _lowest(decays: Any, row: Any) -> float:
    """Where a parabola through the lowest point and its neighbours is lowest."""
    values = row.to_numpy()
    i = int(values.argmin())
    if not 0 < i < len(values) - 1:
        return decays[i]
    before, here, after = values[i - 1 : i + 2]
    bend = before - 2 * here + after
    return decays[i] + (decays[1] - decays[0]) * ((before - after) / (2 * bend) if bend > 0 else 0.0)


def _in_words(by: dict[tuple[str, str], Any], shrinks: dict[str, Any]) -> str:
    wrong, tuned, one, first, slope = list(by[LARGE, L2])[2:7]

    def points(start: str, name: str, what: str) -> str:
        return number(100 * by[start, name][what])

    l2, own = by[LARGE, L2], by[LARGE, DECOUPLED]
    separable: bool = own[one] > 0.8 * own[tuned] and abs(own[slope]) < 0.35 and l2[first] < own[first] / 3
    text = (
        "Two coordinates with gradients of pure noise, of size 1 and 100, and a decay of the same λ: in the gradient "
        f"(L2) it shrinks the second {number(shrinks[L2][0] / shrinks[L2][1])} times less than the first, for Adam "
        "divides it by the size of the gradients; decoupled, the two shrink alike "
        f"({number(shrinks[DECOUPLED][0] / shrinks[DECOUPLED][1])}). On digits with 300 rows, from a start "
        f"{_LARGER:g} times as large as usual, decay has to erase the start. Decoupled, and taken as in the paper as "
        f"what a step shrinks by, it gains {points(LARGE, DECOUPLED, tuned)} points of held-out error when it is tuned "
        f"for each η, and {points(LARGE, DECOUPLED, one)} with one decay for all η; the best one moves by "
        f"{own[slope]:+.2f} decades for each decade of η. L2 gains {points(LARGE, L2, tuned)} points, and at the "
        f"smallest η {points(LARGE, L2, first)} where decoupled decay gains {points(LARGE, DECOUPLED, first)}: what it "
        "takes off in a step is no more than η, whatever λ is. "
        + whether(
            separable,
            "So, as in its Figure 2, η and decay can be tuned one after the other when decay is decoupled, and not "
            "with L2. ",
            "The separable map of its Figure 2 does not come out here. ",
        )
        + f"The best of each map gets {points(LARGE, L2, wrong)} % (L2) and {points(LARGE, DECOUPLED, wrong)} % wrong."
    )
    if (USUAL, L2) not in by:
        return text
    return text + (
        " It takes a task where decay has a start to erase. From the usual start, with 200 rows and wrong labels, it "
        "has to balance the gradients, and the best η·λ moves with η: decoupled decay gains "
        f"{points(USUAL, DECOUPLED, tuned)} points tuned for each η and {points(USUAL, DECOUPLED, one)} with one decay "
        f"for all, L2 {points(USUAL, L2, tuned)} and {points(USUAL, L2, one)}."
    )
