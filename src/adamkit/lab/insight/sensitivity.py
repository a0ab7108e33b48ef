"""What a sweep says about each hyperparameter: how wide its good range is, how much it matters, what diverges.

The good range of a hyperparameter is where some setting comes within 5 % of the best: what its value allows when the
others are tuned. Importance is a share of the variance of the settings' ranks, with how sure it is: see `anova`.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from adamkit.lab.errors import InputError, listed
from adamkit.lab.hyperparameters import HYPERPARAMETERS, Hyperparameter, Value
from adamkit.lab.insight import anova
from adamkit.lab.insight.anova import Share

NEAR = 0.05  # what "within 5 % of the best" means
FLAT = 1e-3  # of the way from the best to the median: a best that is nearer to 0 is 0, of which no share is a measure
FEWEST_SETTINGS = 8  # below, there is nothing to learn from
FEWEST_FINITE = 4  # settings that do not diverge
FEWEST_BINS = 4
NEGLIGIBLE = 0.01  # share of the variance
MOSTLY = 0.8  # share of the noise above which nothing is said of the rest
ROUGH = 0.2  # from the lowest to the highest that a share may be: more settings are called for
SHARP = 0.05  # below, that is not shown
WORDS = {
    "learning_rate": "learning rates",
    "weight_decay": "weight decays",
    "warmup_steps": "warm-up steps",
    "batch_size": "batch sizes",
}


class Point(NamedTuple):
    """The best setting at one value of a hyperparameter, whatever the others are there."""

    value: Value
    objective: float  # inf where all settings diverge
    diverged: float  # share of the settings at this value that diverge


@dataclass(frozen=True)
class Effect:
    """What one hyperparameter does.

    Args:
        name: The hyperparameter's.
        best: Its value in the best setting.
        low: Where the good range begins: the contiguous values around `best` whose best settings are within 5 % of the
            best of all. Between two values it is interpolated, on the hyperparameter's habitual scale.
        high: Where it ends.
        width: Of the good range: decades where the habitual scale is log (for a β, of 1 - β), units of the
            hyperparameter otherwise. NaN where the range begins at 0 on a log scale.
        from_lowest: The good range begins at the lowest value tried, so it may be wider.
        to_highest: It ends at the highest value tried.
        sampled: The settings are no grid, so each value was tried with few values of the others, or one: where they
            were not good ones the range may be wider.
        importance: Share of the variance of the settings' ranks that the hyperparameter explains alone, 0 to 1. None
            where it cannot be said.
        profile: The best setting at each value, by value.
        importance_range: Where that share lies with a chance of 90 %: lowest and highest. None where it cannot be said.
    """

    name: str
    best: Value
    low: Value
    high: Value
    width: float
    from_lowest: bool
    to_highest: bool
    sampled: bool
    importance: float | None
    profile: tuple[Point, ...]
    importance_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Sensitivity:
    """What a sweep says about its hyperparameters.

    Args:
        objective: Name of what is to be small; with a minus, of what is to be large.
        settings: How many there are.
        best: The best setting's objective, as a mean over seeds. NaN where all settings diverge.
        threshold: What is still near the best: `best` + 5 % of its size. Where the best is 0, or as good as 0 beside
            the others: `best` + 5 % of the way to the median of the settings that do not diverge.
        diverged: How many settings diverge, with at least one seed.
        effects: One for each hyperparameter that has more than one value; none where all settings diverge.
        interactions: For each two of them the share of the variance that they explain together beyond each alone, 0 to
            1; empty where that cannot be said.
        why_no_importance: The reason, in words, why there is no importance. None where there is.
        first_divergence: The smallest learning rate among settings that diverge, if larger ones than the smallest were
            tried. None otherwise.
        interaction_ranges: Where each share in `interactions` lies with a chance of 90 %.
        noise: The share that no hyperparameter explains, 0 to 1: luck, or what is too fine for so many settings. None
            where it cannot be said.
        near: In words, what "near the best" means: `"within 5 % of the best"`, or of the way to the median.
    """

    objective: str
    settings: int
    best: float
    threshold: float
    diverged: int
    effects: tuple[Effect, ...]
    interactions: dict[tuple[str, str], float]
    why_no_importance: str | None
    first_divergence: float | None
    interaction_ranges: dict[tuple[str, str], tuple[float, float]] = dataclasses.field(default_factory=dict)
    noise: float | None = None
    near: str = "within 5 % of the best"

    def describe(self) -> list[str]:
        """What this says, in words: one line a hyperparameter, then how much each matters, then divergence."""
        metric = self.objective.removeprefix("-")
        lines = [range_in_words(metric, effect, self.near) for effect in self.effects]
        if self.why_no_importance:
            lines.append(self.why_no_importance)
        if self.interactions:
            lines += self._importance_in_words(metric)
        lines.append(self._divergence_in_words())
        return lines

    def _importance_in_words(self, metric: str) -> list[str]:
        ranked = sorted(self.effects, key=lambda effect: -(effect.importance or 0))
        alone = [f"{effect.name} {_sure(effect.importance or 0, effect.importance_range)}" for effect in ranked]
        unexplained = self.noise or 0.0
        noise = f"; {_percent(unexplained)} is noise" if unexplained >= SHARP else ""
        (a, b), share = max(self.interactions.items(), key=lambda pair: pair[1])
        how_sure = _sure(share, self.interaction_ranges.get((a, b)))
        together = f"{a} and {b} interact most: together they explain {how_sure} more"
        ranges = [*self.interaction_ranges.values(), *(e.importance_range for e in ranked if e.importance_range)]
        is_rough = max((high - low for low, high in ranges), default=0.0) >= ROUGH
        return [
            f"of the differences in {metric}, by rank, each explains alone: {', '.join(alone)}{noise}",
            together if share >= NEGLIGIBLE else "no two of them interact",
            *[f"these shares are rough: {self.settings} settings are few to tell them apart; train more"] * is_rough,
        ]

    def _divergence_in_words(self) -> str:
        if not self.diverged:
            return "no setting diverges"
        if self.diverged == self.settings:
            return f"all of {self.settings} settings diverge: try smaller learning rates"
        words = f"{self.diverged} of {self.settings} settings ({_percent(self.diverged / self.settings)}) diverge"
        if self.first_divergence is not None:
            words += f", none with a learning rate below {shown('learning_rate', self.first_divergence)}"
        return words


def sensitivity(
    summary: pd.DataFrame, hyperparameters: Sequence[str], objective: str = "loss", *, importance: bool = True
) -> Sensitivity:
    """What the settings of a sweep say about each hyperparameter.

    Args:
        summary: One row a setting: a column for each hyperparameter; `mean`, the objective over seeds, float64; and
            `diverged`, the share of seeds whose objective is not finite, 0 to 1. A setting with a seed that diverges
            counts as diverging.
        hyperparameters: The names of the columns. Those with one value are left out.
        objective: What `mean` is of: a name of what is to be small, or, with a minus, of what is to be large
            (`"-val_accuracy"`; `mean` has the minus too). Within 5 % is of the best's size, so that an accuracy of
            0.931 is within 5 % of 0.98.
        importance: Whether to say how much each hyperparameter explains, which takes most of the time: seconds where
            hundreds of settings differ in many.

    Returns:
        The figures; `describe()` has them in words.

    Raises:
        InputError: A column is missing, a name is no hyperparameter, or the table is empty.

    Notes:
        Where settings are drawn rather than a grid, few share a value of a hyperparameter. They are then put into as
        many bins as a grid of so many settings would have values, and each bin stands for its best setting. The range
        of a hyperparameter that explains less than 1 %, alone and with others, is then all that was tried: where it
        seems better, the others happened to be.

        Importance is of the rank of the objective, not of the objective: a loss of 10⁶ would else be all the variance
        there is. Diverging settings share the last rank.

    Example:
        >>> rates = [1e-4, 1e-3, 1e-2, 1e-1]
        >>> summary = pd.DataFrame({"learning_rate": rates, "mean": [0.9, 0.5, 0.51, np.nan], "diverged": [0, 0, 0, 1]})
        >>> for line in sensitivity(summary, ["learning_rate"]).describe():
        ...     print(line)
        loss stays within 5 % of the best for learning rates from 0.00087 to 0.01: 1.1 decades
        1 of 4 settings (25 %) diverge, none with a learning rate below 0.1
    """
    _check(summary, hyperparameters)
    mean = summary["mean"].to_numpy(float)
    diverges = (summary["diverged"].to_numpy(float) > 0) | ~np.isfinite(mean)
    values = np.where(diverges, np.inf, mean)
    columns = {name: summary[name].to_numpy() for name in hyperparameters}
    columns = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    figures = {"objective": objective, "settings": len(values), "diverged": int(diverges.sum())}
    if diverges.all():
        nothing = {"best": math.nan, "threshold": math.nan, "effects": (), "interactions": {}}
        return Sensitivity(**figures, **nothing, why_no_importance=None, first_divergence=None)

    best = float(values.min())
    threshold, near = _threshold(values)
    sampled = not _is_grid(columns)
    bins = max(FEWEST_BINS, round(len(values) ** (1 / max(len(columns), 1)))) if sampled else len(values)
    shares, why_not = _shares(columns, values) if importance else (None, None)
    parts: dict = {} if shares is None else shares.parts
    together = {name: share for name, share in parts.items() if isinstance(name, tuple)}
    effects = []
    for name, column in columns.items():
        effect = _effect(name, _profile(column, values, bins), threshold, sampled, parts.get(name))
        influence = 1 if shares is None else shares.in_all[name]
        effects.append(_good_everywhere(effect, column) if sampled and influence < NEGLIGIBLE else effect)
    rates = columns.get("learning_rate", np.zeros(len(values)))
    first = float(rates[diverges].min()) if diverges.any() else 0.0
    return Sensitivity(
        **figures,
        best=best,
        threshold=threshold,
        effects=tuple(effects),
        interactions={pair: share.mean for pair, share in together.items()},
        why_no_importance=why_not,
        first_divergence=first if first > float(rates.min()) else None,
        interaction_ranges={pair: (share.low, share.high) for pair, share in together.items()},
        noise=None if shares is None else shares.noise.mean,
        near=near,
    )


def shown(name: str, value: Value) -> str:
    """A value of a hyperparameter as text, to two significant digits; of 1 - β for a β.

    Example:
        >>> shown("learning_rate", 0.00123), shown("beta_2", 0.99912), shown("batch_size", 128)
        ('0.0012', '0.99912', '128')
    """
    known = HYPERPARAMETERS[name]
    if known.kind == "flag":
        return str(bool(value)).lower()
    if known.kind == "integer":
        return str(round(value))
    if known.is_decay and 0.5 <= value < 1:
        return f"{value:.{1 - math.floor(math.log10(1 - value) + 1e-9)}f}".rstrip("0")
    return f"{value:.2g}"


def range_in_words(metric: str, effect: Effect, near: str = Sensitivity.near) -> str:
    """The good range of a hyperparameter in one sentence, without a full stop; `near` as in `Sensitivity`."""
    name = effect.name
    known, words = HYPERPARAMETERS[name], WORDS.get(name, name)
    low, high = shown(name, effect.low), shown(name, effect.high)
    near_best = f"{metric} stays {near}"
    if known.kind == "flag":
        return (
            f"{near_best} with and without {name}"
            if effect.low != effect.high
            else f"{near_best} with {name}={low} only"
        )
    if effect.low == effect.high:
        return f"{near_best} with {name}={low} only"
    end = "near the " if effect.sampled else "the "
    below = f", {end}lowest tried," if effect.from_lowest else ""
    above = f", {end}highest tried" if effect.to_highest else ""
    if below and above:
        span = f"for all {words} tried, from {low} to {high}"
    else:
        span = f"for {words} from {low}{below} to {high}{above}"
    if known.scale != "log" or math.isnan(effect.width):
        return f"{near_best} {span}"
    width = f"{effect.width:.{1 if effect.width >= 0.1 else 2}f} decades" + known.is_decay * f" of 1 - {name}"
    return f"{near_best} {span}: {width}" + (" or more" if below or above or effect.sampled else "")


def _check(summary: pd.DataFrame, hyperparameters: Sequence[str]) -> None:
    for name in hyperparameters:
        if name not in HYPERPARAMETERS:
            raise InputError(f"hyperparameters must be of {listed(HYPERPARAMETERS)}. Received: {name!r}.")
    missing = [name for name in (*hyperparameters, "mean", "diverged") if name not in summary.columns]
    if missing or not len(summary):
        received = f"a table without {listed(missing)}" if missing else "a table without rows"
        raise InputError(f"summary must have one row a setting, with mean and diverged. Received: {received}.")


def _is_grid(columns: dict[str, np.ndarray]) -> bool:
    """Whether the settings are all combinations of the values of each hyperparameter."""
    settings = set(zip(*(column.tolist() for column in columns.values()), strict=True))
    return len(settings) == math.prod(len(np.unique(column)) for column in columns.values())


def _profile(values: np.ndarray, objective: np.ndarray, bins: int) -> tuple[Point, ...]:
    """The best setting at each value, or in each bin where there are more values than bins."""
    different = np.unique(values)
    points = []
    for same in np.array_split(different, min(bins, len(different))):
        here = np.flatnonzero((values >= same[0]) & (values <= same[-1]))
        best = here[np.argmin(objective[here])]
        value = values[best] if np.isfinite(objective[best]) else same[len(same) // 2]
        points.append(Point(value.item(), float(objective[best]), float(np.mean(~np.isfinite(objective[here])))))
    return tuple(points)


def _effect(name: str, profile: tuple[Point, ...], threshold: float, sampled: bool, share: Share | None) -> Effect:
    known = HYPERPARAMETERS[name]
    i = int(np.argmin([point.objective for point in profile]))
    low, from_lowest = _edge(known, profile[i::-1], threshold)
    high, to_highest = _edge(known, profile[i:], threshold)
    begin, end = known.position([low, high])
    width = float(end - begin) if math.isfinite(begin) else math.nan
    importance, sure = (None, None) if share is None else (share.mean, (share.low, share.high))
    return Effect(name, profile[i].value, low, high, width, from_lowest, to_highest, sampled, importance, profile, sure)


def _good_everywhere(effect: Effect, values: np.ndarray) -> Effect:
    """The effect of a hyperparameter that hardly matters, so that where it seems better the others were."""
    low, high = values.min().item(), values.max().item()
    begin, end = HYPERPARAMETERS[effect.name].position([low, high])
    width = float(end - begin) if math.isfinite(begin) else math.nan
    return dataclasses.replace(effect, low=low, high=high, width=width, from_lowest=True, to_highest=True)


def _edge(known: Hyperparameter, points: Sequence[Point], threshold: float) -> tuple[Value, bool]:
    """Where, from the first point on, the objective leaves what is good, and whether it never does."""
    for inside, outside in itertools.pairwise(points):
        if outside.objective > threshold:
            ends = known.position([inside.value, outside.value])
            if known.kind == "flag" or not (np.isfinite(ends).all() and math.isfinite(outside.objective)):
                return inside.value, False  # nothing lies between, or it is not known where
            t = (threshold - inside.objective) / (outside.objective - inside.objective)
            value = float(known.at(ends[0] + t * (ends[1] - ends[0])))
            between = sorted((inside.value, outside.value))
            value = min(max(value, between[0]), between[1])  # for all that rounding does
            return round(value) if known.kind == "integer" else value, False
    return points[-1].value, True


def _threshold(values: np.ndarray) -> tuple[float, str]:
    """The largest objective that is near the best, and what that means in words."""
    finite = values[np.isfinite(values)]
    best, way = float(finite.min()), float(np.median(finite) - finite.min())
    if way > 0 and abs(best) < FLAT * way:
        return best + NEAR * way, "within 5 % of the way from the best, which is near 0, to the median"
    return best + NEAR * abs(best), Sensitivity.near


def _shares(columns: dict[str, np.ndarray], objective: np.ndarray) -> tuple[anova.Shares | None, str | None]:
    """What each hyperparameter explains, or why that cannot be said."""
    if len(columns) < 2:
        return None, None
    settings, finite = len(objective), int(np.isfinite(objective).sum())
    if settings < FEWEST_SETTINGS:
        return None, f"too few settings ({settings}) to say how much each hyperparameter matters"
    if finite < min(FEWEST_FINITE, settings):
        kept = "1 does" if finite == 1 else f"{finite} do"
        return None, f"of {settings} settings {kept} not diverge: too few to say how much each hyperparameter matters"
    if (objective == objective[0]).all():
        return None, "all settings come out the same: no hyperparameter matters here"
    shares = anova.shares(columns, pd.Series(objective).rank().to_numpy())
    if shares.noise.mean > MOSTLY:
        return (
            None,
            "how much each hyperparameter matters cannot be said: what differs between settings is mostly noise",
        )
    return shares, None


def _sure(share: float, within: tuple[float, float] | None) -> str:
    """A share, with where it lies if that is not sharp."""
    if within is None or within[1] - within[0] < SHARP:
        return _percent(share)
    return f"{_percent(share)} ({100 * within[0]:.0f} to {100 * within[1]:.0f} %)"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
