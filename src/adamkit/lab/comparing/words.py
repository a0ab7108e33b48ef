"""What a comparison says, in sentences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from adamkit.lab.comparing.result import Comparison

_NAMED = 4  # optimizers; of more, their number is said
_LIKELY = 0.05  # held-out losses at equal training loss that are closer are the same


def verdict(result: "Comparison") -> list[str]:
    """The sentences, the most important first."""
    summary: Any = result.summary
    sentences = []
    if len(summary):
        sentences += [_best(result, summary), *_by_budget(result), *_generalization(result, summary)]
        sentences += _speed(result, summary)
    sentences += _spaces(result)
    sentences += [f"{check.in_words(is_large_good=result.is_large_good)}." for check in result.checks]
    diverged = [name for name in result.described["optimizers"] if name not in result.optimizers]
    if diverged:
        sentences.append(f"Every setting of {listed(diverged)} diverged.")
    interrupted = "The comparison was interrupted: optimizers that were not finished are not in it."
    return [*sentences, *missing(result.described, interrupted)]


def missing(described: Mapping[str, Any], interrupted: str) -> list[str]:
    """What is not in a result, and why; the second sentence is for one that was interrupted."""
    left_out = [f"{name} was left out: {why}." for name, why in described["failures"].items()]
    return [*left_out, *[interrupted] * described["interrupted"]]


def tied(result: "Comparison") -> list[str]:
    """The best optimizer and those whose bands overlap with its band."""
    summary: Any = result.summary
    first = summary.iloc[0]
    return summary.optimizer[(summary.low <= first.high) & (summary.high >= first.low)].tolist()


def listed(names: Sequence[str]) -> str:
    """`"a, b and c"`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def figure(value: float) -> str:
    """Four digits."""
    return f"{value:.4g}"


def _best(result: "Comparison", summary: Any) -> str:
    first = summary.iloc[0]
    metric = f"test {result.metric}"
    reached = f"{figure(first[f'test_{result.metric}'])} ({figure(first.low)} to {figure(first.high)})"
    if len(summary) == 1:
        return f"{first.optimizer} reaches a {metric} of {reached}."
    same = tied(result)
    behind = [name for name in summary.optimizer if name not in same]
    if not behind:
        others = f"that of {same[1]}" if len(same) == 2 else f"those of {listed(same[1:])}"
        return (
            f"No difference beyond luck: the best {metric} is {first.optimizer}'s, {reached}, a band that overlaps "
            f"with {others if len(same) <= _NAMED else 'all others'}."
        )
    ahead = f"{first.optimizer} has the best {metric}, {reached}, and is ahead of {listed(behind)} beyond luck."
    if len(same) > 1:
        ahead += f" Between {listed(same)} there is no difference beyond luck."
    return ahead


def _by_budget(result: "Comparison") -> list[str]:
    """Who is expected to lead at each budget."""
    if len(result.optimizers) < 2:
        return []
    own = result.expected_best.loc[result.expected_best.metric == result.metric]
    leaders: list[tuple[int, str]] = []
    for budget, rows in own.groupby("budget"):
        place = rows["value"].idxmax() if result.is_large_good else rows["value"].idxmin()
        leader = str(rows.loc[place, "optimizer"])
        if not leaders or leaders[-1][1] != leader:
            leaders.append((int(budget), leader))  # pyright: ignore[reportArgumentType]
    if len(leaders) == 1:
        return [f"{leaders[0][1]} is expected to lead at every budget of settings."]
    parts = [f"{name} from {_settings(budget)} on" for budget, name in leaders]
    return [f"Expected to lead, by how many settings are tried: {', then '.join(parts)}."]


def _settings(n: int) -> str:
    return f"{n} setting{'' if n == 1 else 's'}"


def _generalization(result: "Comparison", summary: Any) -> list[str]:
    """Held-out loss at equal training loss: without what speed does to it."""
    known = summary.loc[np.isfinite(summary.at_equal_loss)]
    if len(known) < 2:
        return []
    ranked = known.sort_values("at_equal_loss", kind="stable")
    low, high = ranked.iloc[0], ranked.iloc[-1]
    where = f"Where every training loss has come down to {figure(result.equal_loss)}, the validation loss is"
    if high.at_equal_loss - low.at_equal_loss <= _LIKELY * abs(low.at_equal_loss):
        return [f"{where} the same for all, within 5 %: {figure(low.at_equal_loss)} to {figure(high.at_equal_loss)}."]
    return [
        f"{where} smallest with {low.optimizer}, {figure(low.at_equal_loss)}, and largest with {high.optimizer}, "
        f"{figure(high.at_equal_loss)}."
    ]


def _speed(result: "Comparison", summary: Any) -> list[str]:
    reached = summary.loc[np.isfinite(summary.epochs_to_goal)]
    if len(summary) < 2 or not len(reached):
        return []
    least = reached.epochs_to_goal.min()
    fastest = reached.optimizer[reached.epochs_to_goal == least].tolist()
    epochs = f"{least:g} epoch{'' if least == 1 else 's'}"
    return [f"First at a validation {result.metric} of {figure(result.goal)}: {listed(fastest)}, after {epochs}."]


def _spaces(result: "Comparison") -> list[str]:
    sentences = []
    about = result.described["optimizers"]
    moved = [f"{name} ({one['widened']} ×)" for name, one in about.items() if one["widened"]]
    if moved:
        sentences.append(f"The best setting lay on the border of the space, which was widened, for {listed(moved)}.")
    for name, one in about.items():
        if one["ends"]:
            where = listed([f"the {end} end of {hyperparameter}" for hyperparameter, end in one["ends"].items()])
            sentences.append(f"{name}'s best setting still lies at {where}: it may be better than shown.")
    return sentences
