import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamkit.lab.errors import InputError
from adamkit.lab.insight.sensitivity import FEWEST_SETTINGS, NEAR, sensitivity, shown
from adamkit.lab.sweeping.spaces import HYPERPARAMETERS, Range, draw, grid

pytestmark = pytest.mark.slow  # seconds, all in all


def summary_of(settings, objective):
    """The summary of a sweep whose objective is a function of the table of settings."""
    table = pd.DataFrame(settings)
    mean = np.broadcast_to(objective(table), len(table)).astype(float)
    return table.assign(mean=mean, diverged=(~np.isfinite(mean)).astype(float))


def found(settings, objective, name="loss"):
    return sensitivity(summary_of(settings, objective), list(settings[0]), name)


def rate(table):
    return np.log10(table["learning_rate"]) + 3  # 0 at 0.001


def square(points):
    axes = {"learning_rate": Range(1e-5, 1e-1, points=points), "beta_1": Range(0.5, 0.99, points=points)}
    return grid(axes)


@given(best=st.floats(-4.5, -1.5), depth=st.floats(0.01, 100), steepness=st.floats(0.1, 10))
def test_the_good_range_of_a_parabola_is_found(best, depth, steepness):
    # depth·(1 + steepness·(x - best)²) is within 5 % of depth up to √(0.05 / steepness) from the best.
    result = found(
        grid({"learning_rate": Range(1e-5, 1e-1, points=401)}),
        lambda table: depth * (1 + steepness * (np.log10(table["learning_rate"]) - best) ** 2),
    )
    (effect,) = result.effects
    reach = math.sqrt(NEAR / steepness)
    step = 4 / 400
    assert math.log10(effect.best) == pytest.approx(best, abs=step)
    assert math.log10(effect.low) == pytest.approx(max(best - reach, -5), abs=step)
    assert math.log10(effect.high) == pytest.approx(min(best + reach, -1), abs=step)
    assert effect.width == pytest.approx(math.log10(effect.high / effect.low), rel=1e-6)
    assert effect.from_lowest == (effect.low == 1e-5)
    assert effect.to_highest == (effect.high == 0.1)


@given(st.sampled_from([name for name, known in HYPERPARAMETERS.items() if known.kind == "number"]), st.data())
def test_a_good_range_holds_the_best_and_all_values_in_it_are_good(name, data):
    values = data.draw(st.lists(st.integers(0, 999).map(lambda i: i / 1000), min_size=2, max_size=12, unique=True))
    heights = data.draw(st.lists(st.floats(0.1, 10) | st.just(math.nan), min_size=len(values), max_size=len(values)))
    result = found([{name: value} for value in values], lambda _: np.array(heights))
    if np.isnan(heights).all():
        assert not result.effects
        return
    (effect,) = result.effects
    assert effect.low <= effect.best <= effect.high
    assert heights[values.index(effect.best)] == np.nanmin(heights)
    for value, height in zip(values, heights, strict=True):
        if effect.low < value < effect.high:
            assert height <= result.threshold * (1 + 1e-9)
    assert [point.value for point in effect.profile] == sorted(values)
    assert result.diverged == np.isnan(heights).sum()


def test_a_profile_has_the_best_over_the_other_hyperparameters():
    result = found(square(9), lambda table: 1 + rate(table) ** 2 + 5 * (table["beta_1"] - 0.5))
    rates, _ = result.effects
    assert [point.objective for point in rates.profile] == pytest.approx(
        [1 + (math.log10(point.value) + 3) ** 2 for point in rates.profile]
    )
    assert not rates.sampled


def test_draws_are_put_into_as_many_bins_as_a_grid_would_have():
    settings = draw({"learning_rate": "1e-5..1e-1", "beta_1": "0.5..0.99"}, 256)
    result = found(settings, lambda table: 1 + rate(table) ** 2)
    assert [len(effect.profile) for effect in result.effects] == [16, 16]
    rates, betas = result.effects
    assert rates.low < 1e-3 < rates.high
    assert rates.width == pytest.approx(2 * math.sqrt(NEAR), abs=0.3)
    assert rates.sampled
    assert betas.from_lowest
    assert betas.to_highest


def test_draws_do_not_blame_what_does_not_matter():
    settings = draw({"learning_rate": "1e-5..1e-1", "beta_2": "0.9..0.9999", "batch_size": "8..512"}, 64)
    result = found(settings, lambda table: 1 + rate(table) ** 2)
    for effect in result.effects[1:]:
        tried = [setting[effect.name] for setting in settings]
        assert (effect.low, effect.high) == (min(tried), max(tried))
        assert effect.from_lowest
        assert effect.to_highest
    assert result.effects[0].width < 1


def test_a_good_range_is_contiguous():
    heights = [1.0, 2.0, 1.02, 2.0]
    (effect,) = found([{"batch_size": b} for b in (8, 16, 32, 64)], lambda _: np.array(heights)).effects
    assert effect.best == effect.low == 8
    assert effect.high < 16


def test_zero_on_a_log_scale_has_no_decades():
    settings = [{"weight_decay": w} for w in (0, 1e-4, 1e-3, 1e-2)]
    result = found(settings, lambda _: np.array([1.0, 1.01, 1.02, 1.5]))
    (effect,) = result.effects
    assert effect.low == 0
    assert 1e-3 < effect.high < 1e-2
    assert math.isnan(effect.width)
    assert "weight decays from 0, the lowest tried, to 0.0" in result.describe()[0]
    assert "decades" not in result.describe()[0]
    assert found(settings, lambda _: np.array([1.0, 9, 9, 9])).effects[0].high == 0


@pytest.mark.parametrize(
    ("objective", "alone", "together"),
    [
        (lambda table: 1 + rate(table) ** 2, (1, 0), 0),
        (lambda table: 1 + 10 * table["beta_1"], (0, 1), 0),
        (lambda table: 1 + np.sign(rate(table)) * np.sign(table["beta_1"] - 0.9), (0, 0), 1),
    ],
)
@pytest.mark.parametrize("settings", [square(16), draw({"learning_rate": "1e-5..1e-1", "beta_1": "0.5..0.99"}, 256)])
def test_importance_goes_to_what_the_objective_depends_on(settings, objective, alone, together):
    result = found(settings, objective)
    assert [effect.importance for effect in result.effects] == pytest.approx(alone, abs=0.1)
    # The last jumps, which waves follow only so far: the rest is called noise.
    assert result.interactions == {("learning_rate", "beta_1"): pytest.approx(together, abs=0.15)}
    assert result.why_no_importance is None


def test_shares_add_up_to_no_more_than_one_and_huge_losses_do_not_hide_the_rest():
    space = {"learning_rate": "1e-5..1", "beta_1": "0.5..0.99", "epsilon": "1e-9..1e-3", "amsgrad": "true,false"}
    settings = draw(space, 200)
    curve = found(settings, lambda table: 1 + rate(table) ** 2 + (table["beta_1"] - 0.7) ** 2)
    exponential = found(settings, lambda table: np.exp(5 * (1 + rate(table) ** 2 + (table["beta_1"] - 0.7) ** 2)))
    assert sum(effect.importance for effect in curve.effects) + sum(curve.interactions.values()) <= 1 + 1e-9
    assert len(curve.interactions) == 6
    assert [e.importance for e in exponential.effects] == [e.importance for e in curve.effects]
    assert dataclasses.asdict(curve)["effects"][0]["name"] == "learning_rate"


SPACE = {"learning_rate": "1e-5..1e-1", "beta_1": "0..0.99"}


def places(table):
    """Of both hyperparameters in what was tried, from -½ to ½ on their scales."""
    return (rate(table) / 4, (0.5 + np.log10(1 - table["beta_1"]) / 2))


def main_shares(result):
    return [effect.importance for effect in result.effects]


@pytest.mark.parametrize("seed", range(3))
def test_a_small_effect_of_random_draws_has_its_share(seed):
    """Of two cosines of variance 9 to 1, and of their ranks nearly so, each alone explains 90 and 10 %."""
    settings = draw(SPACE, 64, method="random", seed=seed)
    result = found(
        settings, lambda table: sum(a * np.cos(np.pi * (u + 0.5)) for a, u in zip((3, 1), places(table), strict=True))
    )
    assert main_shares(result) == pytest.approx([0.89, 0.1], abs=0.04)
    for effect, share in zip(result.effects, (0.89, 0.1), strict=True):
        low, high = effect.importance_range
        assert low - 0.03 <= share <= high + 0.03  # the draws themselves differ from their space by as much


@pytest.mark.parametrize("seed", range(3))
def test_a_pure_interaction_of_few_random_draws_is_one(seed):
    settings = draw(SPACE, 32, method="random", seed=seed)
    result = found(settings, lambda table: 2 + np.prod(places(table), axis=0))
    assert max(main_shares(result)) < 0.15
    assert result.interactions["learning_rate", "beta_1"] > 0.75


def test_what_is_not_sure_is_said_so_and_more_settings_make_it_sure():
    def noisy(table):
        return 5 + places(table)[0] + np.random.default_rng(0).normal(0, 0.2, len(table))

    widths = []
    for settings in (24, 200):
        result = found(draw(SPACE, settings, method="random"), noisy)
        low, high = result.effects[0].importance_range
        assert low <= result.effects[0].importance <= high
        widths.append(high - low)
        assert any("these shares are rough: 24 settings are few" in line for line in result.describe()) == (
            settings == 24
        )
    assert widths[1] < widths[0] / 2
    assert result.noise == pytest.approx(0.04 / (0.04 + 1 / 12), abs=0.1)
    shares = [effect.importance for effect in result.effects] + [*result.interactions.values(), result.noise]
    assert sum(shares) == pytest.approx(1)
    assert "is noise" in result.describe()[2]


def test_near_a_best_of_nothing_is_a_share_of_the_way_to_the_median():
    heights = np.array([0.0, 0.04, 0.2, 1.0, 2.0, math.inf])
    settings = [{"learning_rate": 10.0**-i} for i in range(6)]
    result = found(settings, lambda _: heights)
    assert result.threshold == pytest.approx(0.05 * 0.2)
    assert "within 5 % of the way from the best, which is near 0, to the median" in result.describe()[0]
    shifted = found(settings, lambda _: heights + 1)
    assert shifted.threshold == pytest.approx(1.05)


def test_where_nearly_all_diverge_that_is_the_reason():
    settings = draw(SPACE, 16)
    result = found(settings, lambda table: np.where(np.arange(16) == 3, 1.0, math.inf))
    assert result.why_no_importance == (
        "of 16 settings 1 does not diverge: too few to say how much each hyperparameter matters"
    )


def test_divergence_is_counted_and_placed():
    result = found(square(8), lambda table: np.where(table["learning_rate"] > 0.01, np.inf, 1 + rate(table) ** 2))
    rates = result.effects[0]
    assert result.diverged == 16  # 2 of 8 rates are above 0.01
    assert [point.diverged for point in rates.profile] == [0] * 6 + [1] * 2
    assert rates.high <= 0.01
    assert result.describe()[-1] == "16 of 64 settings (25 %) diverge, none with a learning rate below 0.027"
    some = summary_of(square(8), lambda table: 1 + rate(table) ** 2)
    some.loc[3, "diverged"] = 1 / 3  # one seed of three, though its mean may be of the other two
    assert sensitivity(some, ["learning_rate", "beta_1"]).diverged == 1


def test_everything_is_said_in_words():
    lines = found(square(9), lambda table: 1 + rate(table) ** 2 + 0.1 * np.abs(table["beta_1"] - 0.9)).describe()
    assert lines[0].startswith("loss stays within 5 % of the best for learning rates from 0.00")
    assert lines[0].endswith("decades")
    assert lines[1].endswith("decades of 1 - beta_1 or more")
    assert lines[2].startswith("of the differences in loss, by rank, each explains alone: learning_rate 9")
    assert lines[3:] == ["no two of them interact", "no setting diverges"]
    assert (
        found(square(9), lambda t: 1 + np.sign(rate(t)) * np.sign(t["beta_1"] - 0.9))
        .describe()[3]
        .startswith("learning_rate and beta_1 interact most: together they explain 9")
    )


def test_a_metric_that_is_to_be_large():
    settings = grid({"learning_rate": "1e-4..1e-1:4"})
    result = found(settings, lambda _: -np.array([0.5, 0.932, 0.98, 0.93]), "-val_accuracy")
    (effect,) = result.effects
    assert result.threshold == pytest.approx(-0.931)
    assert effect.best == 0.01
    assert effect.low < 1e-3
    assert 0.09 < effect.high < 0.1
    assert result.describe()[0].startswith("val_accuracy stays within 5 % of the best for learning rates from")


@pytest.mark.parametrize(
    ("heights", "words"),
    [([1.0, 1.01], "with and without amsgrad"), ([1.0, 2.0], "amsgrad=false only"), ([2.0, 1.0], "amsgrad=true only")],
)
def test_a_flag_is_on_or_off_or_both(heights, words):
    assert words in found(grid({"amsgrad": [False, True]}), lambda _: np.array(heights)).describe()[0]


def test_few_constant_noisy_and_diverged_sweeps_are_said_to_be_so():
    few = found(square(2), rate)
    assert len(square(2)) < FEWEST_SETTINGS
    assert few.why_no_importance == "too few settings (4) to say how much each hyperparameter matters"
    constant = found(square(5), lambda _: 0.7)
    assert constant.why_no_importance == "all settings come out the same: no hyperparameter matters here"
    assert constant.why_no_importance in constant.describe()
    assert all(effect.from_lowest and effect.to_highest for effect in constant.effects)
    noise = found(square(8), lambda table: np.random.default_rng(0).random(len(table)))
    assert "mostly noise" in noise.why_no_importance
    diverged = found(square(5), lambda _: math.nan)
    assert diverged.describe() == ["all of 25 settings diverge: try smaller learning rates"]
    assert math.isnan(diverged.best)
    zero = found(square(5), lambda _: 0.0)
    assert zero.threshold == 0
    alone = found([{"learning_rate": 0.1}], lambda _: 1.0)
    assert alone.describe() == ["no setting diverges"]


@given(st.floats(1e-12, 1 - 1e-12))
def test_values_are_shown_to_two_digits(value):
    assert float(shown("learning_rate", value)) == pytest.approx(value, rel=0.05)
    assert 1 - float(shown("beta_2", value)) == pytest.approx(1 - value, rel=0.06)


@pytest.mark.parametrize(
    ("table", "names", "words"),
    [
        (pd.DataFrame({"mean": [1.0]}), [], "Received: a table without diverged"),
        (pd.DataFrame({"mean": [1.0], "diverged": [0.0]}), ["beta_1"], "Received: a table without beta_1"),
        (pd.DataFrame({"mean": [], "diverged": []}), [], "Received: a table without rows"),
        (pd.DataFrame({"mean": [1.0], "diverged": [0.0]}), ["speed"], "Received: 'speed'"),
    ],
)
def test_a_table_that_is_no_summary(table, names, words):
    with pytest.raises(InputError, match=words):
        sensitivity(table, names)
