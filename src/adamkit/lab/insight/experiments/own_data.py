"""Which part of Adam does the work on a problem of the user's: each part left out, each variant tuned alike."""

from collections.abc import Callable
from typing import Any

import numpy as np

from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of
from adamkit.lab.sweeping.sweeper import SweepResult, sweep

WHOLE = "Adam"
TINY = 1e-30  # for no ε: 0 itself would make 0/0 of a feature that never has a gradient
# What each variant sets, and where its learning rates lie: as many over as many decades for all.
VARIANTS: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    WHOLE: ({}, (1e-5, 1.0)),
    "without momentum": ({"beta_1": 0.0}, (1e-5, 1.0)),
    "without adaptivity": ({"adaptivity": False}, (1e-3, 100.0)),
    "without bias correction": ({"bias_correction": False}, (1e-5, 1.0)),
    "without ε": ({"epsilon": TINY}, (1e-5, 1.0)),
    "without decay": ({"weight_decay": 0.0}, (1e-5, 1.0)),
}


def show(
    settings: runs.Settings,
    *,
    rates: int = 16,
    tuning_seeds: int = 2,
    seeds: int = 8,
    on_progress: Callable[[str], None] | None = None,
) -> Shown:
    """Tune the learning rate of each variant alike, then train each at its best from starts that chose nothing.

    Args:
        settings: Data, model and training; its `weight_decay` is what "without decay" leaves out. The rows to validate
            on decide, or those to train on where there are none.
        rates: Learning rates a variant.
        tuning_seeds: Runs of each of them, >= 1.
        seeds: Runs of each variant at its best, >= 2; the same starts and orders for all, so that they are compared in
            pairs.
        on_progress: Called with a line before each stage.

    Returns:
        The paragraph, one figure row a variant, and two charts: the tuning, and what is left of each.

    Raises:
        InputError: Something that `settings` names is not there or does not fit, or a number is too small.
    """
    for name, value, least in (("rates", rates, 2), ("tuning_seeds", tuning_seeds, 1), ("seeds", seeds, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number >= {least}. Received: {name}={value!r}")
    tell = on_progress or (lambda _: None)
    prepared = runs.prepare(settings)
    validation = prepared.validation
    base = {
        name: getattr(settings, name) for name in ("beta_1", "epsilon", "weight_decay", "bias_correction", "adaptivity")
    }
    kinds = [name for name in VARIANTS if name != "without decay" or settings.weight_decay]

    def train(space: list[dict[str, Any]], seeds: int, seed: int) -> SweepResult:
        return sweep(
            prepared.model, prepared.train.x, prepared.train.y, space=space, seeds=seeds, seed=seed,
            epochs=settings.epochs, batch_size=settings.batch_size, shuffle=settings.shuffle,
            validation_data=None if validation is None else (validation.x, validation.y),
        )  # fmt: skip

    grid = [
        (name, base | VARIANTS[name][0] | {"learning_rate": float(eta)})
        for name in kinds
        for eta in np.geomspace(*VARIANTS[name][1], rates)
    ]
    tell(f"tuning: {len(kinds)} variants, {rates} learning rates each, {tuning_seeds} seeds")
    tuned = train([setting for _, setting in grid], tuning_seeds, settings.seed)
    tuning = tuned.summary.assign(variant=[grid[place][0] for place in tuned.summary.setting])
    best: dict[Any, Any] = {
        name: grid[int(one.loc[one["mean"].idxmin(), "setting"])][1] for name, one in tuning.groupby("variant")
    }
    tell(f"training: each at its best learning rate, {seeds} seeds")
    final = train([best[name] for name in kinds], seeds, settings.seed + 1)
    if tuned.interrupted or final.interrupted:
        raise KeyboardInterrupt
    values = final.history.groupby(["setting", "seed"])[final.objective].last().unstack().to_numpy()
    found = dict(zip(kinds, values, strict=True))
    figures = table_of([_row(name, found, best, tuning) for name in kinds])
    charts = {"parts": _bars(figures, final.objective, seeds), "tuning": _tuning(tuning, final.objective)}
    return Shown(_paragraph(figures, final.objective, seeds), figures, charts)


def _row(name: str, found: dict[str, np.ndarray], best: dict[str, Any], tuning: Any) -> dict[str, Any]:
    """The mean and range of a variant over seeds, and its paired difference from the whole of Adam."""
    own, eta = found[name], best[name]["learning_rate"]
    with np.errstate(invalid="ignore"):
        gap = own - found[WHOLE]
        band = 2 * gap.std(ddof=1) / np.sqrt(len(gap))  # about 95 % of what other seeds would give
    rates = tuning[tuning.variant == name].learning_rate
    return {
        "variant": name, "best η": eta, "mean": own.mean(), "lowest": own.min(), "highest": own.max(),
        "change": gap.mean(), "luck (±)": band, "at the border": eta in (rates.min(), rates.max()),
    }  # fmt: skip


def _paragraph(figures: Any, objective: str, seeds: int) -> str:
    by = figures.set_index("variant")
    parts = by.drop(index=WHOLE)
    # Not "≤": a variant that diverges has no number, and matters.
    matters = parts[~(parts["change"].abs() <= parts["luck (±)"])].sort_values("change", ascending=False)
    names = {name: name.removeprefix("without ") for name in parts.index}
    harmful = matters[~(matters["change"] < 0)]
    said = [
        f"without {names[name]} {objective} goes from {number(by.loc[WHOLE, 'mean'])} to {number(row['mean'])} "
        f"({row['change']:+.2g} ± {row['luck (±)']:.1g})"
        for name, row in matters.iterrows()
    ]
    first = (
        f"On this problem {names[harmful.index[0]]} does most of the work: "
        if len(harmful)
        else "On this problem no part of Adam is missed when it is left out and η is tuned anew: "
    )
    rest = [names[name] for name in parts.index if name not in matters.index]
    luck = f"{', '.join(rest)}: no difference beyond luck" if rest else ""
    edge = by.index[by["at the border"]].tolist()
    return (
        first
        + "; ".join([*said, *([luck] if luck else [])])
        + f". Each variant had as many learning rates over as many decades, and was then trained with {seeds} seeds "
        "that chose nothing, the same for all; ± is what other seeds might "
        "give." + whether(edge, f" The best η lies at the border of what was tried for: {', '.join(edge)}.", "")
    )


def _bars(figures: Any, objective: str, seeds: int) -> Any:
    """Each variant's mean and range."""
    import altair as alt

    from adamkit.lab.insight.charts.theme import finished

    shown = figures[np.isfinite(figures["mean"])].rename(columns={"luck (±)": "luck"})
    y = alt.Y("variant:N", title=None, sort=None, axis=alt.Axis(labelLimit=240))
    x = {"title": objective, "scale": alt.Scale(zero=False, nice=True)}
    base = alt.Chart(shown)
    spread = base.mark_rule(strokeWidth=4, opacity=0.35).encode(alt.X("lowest:Q", **x), alt.X2("highest:Q"), y)
    dots = base.mark_circle(size=90, opacity=1).encode(alt.X("mean:Q", **x), y, tooltip=list(shown.columns))
    notes = [f"Each with its best η; mean and range of {seeds} seeds that chose nothing"]
    return finished(alt.layer(spread, dots), "Adam with parts left out", notes, 36 * len(shown))


def _tuning(tuning: Any, objective: str) -> Any:
    """The objective over the learning rates of each variant."""
    shown = tuning.assign(value=tuning["mean"]).rename(columns={"value": objective, "learning_rate": "learning rate"})
    finite = shown[np.isfinite(shown[objective])]
    return pictures.lines(
        finite, "learning rate", objective, "variant", log="xy" if (finite[objective] > 0).all() else "x",
        title="How each variant was tuned", notes=["As many learning rates over as many decades for each"],
        clip=float(20 * finite[objective].min()) if (finite[objective] > 0).all() else None,
    )  # fmt: skip
