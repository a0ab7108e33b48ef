"""Each experiment's claim, held over seeds with a margin, at sizes that are as small as the claim allows."""

import numpy as np
import pytest

from adamkit.lab.insight.experiments import (
    adaptive_rates,
    bias_correction,
    divergence,
    epsilon,
    family,
    generalization,
    local_minima,
    memory,
    momentum,
    narrow,
    noise,
    rare_classes,
    sensitivity,
    sparse,
    stability,
    weight_decay,
)

pytestmark = pytest.mark.slow  # seconds, all in all


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_steps_grow_with_the_condition_for_descent_with_its_root_for_momentum_and_not_for_adam(seed):
    figures = adaptive_rates.show(seed=seed, decades=4, most_steps=5000).figures
    steps = figures.pivot_table(index="condition", columns="optimizer", values="steps")
    growth = steps.loc[1e4] / steps.loc[1e2]
    assert 50 < growth["gradient descent"] < 200
    assert 5 < growth["momentum"] < 20
    assert growth["Adam"] < 1.5
    assert steps.loc[1e4, "Adam, rotated"] > 2 * steps.loc[1e4, "Adam"]


@pytest.mark.parametrize("seed", range(5))
def test_adam_without_epsilon_takes_the_same_path_to_the_bit_at_any_scale(seed):
    assert adaptive_rates.bit_identical(seed)


def test_momentum_smooths_the_path_and_overshoots_where_it_is_large():
    for seed in (1, 2):
        by = momentum.show(seed=seed, seeds=50).figures.set_index("beta_1")
        assert by["turns back"].is_monotonic_decreasing
        assert by.loc[0.0, "path length"] > 2 * by.loc[0.9, "path length"]
        assert by.loc[0.99, "overshoots by"] > 2 * by.loc[0.9, "overshoots by"]


@pytest.mark.slow
def test_momentum_leaves_the_shallow_minimum_and_the_deep_one_alike():
    for seed in (1, 2):
        by = local_minima.show(seed=seed, starts=300, steps=500, rates=5).figures.set_index("method")
        assert by.loc["momentum 0.99", "got out of the shallow one"] > 0.1
        assert by.loc["momentum 0.99", "left the deep one"] > 0.03
        assert by["ends in the deep one, at most"].max() < 0.7


@pytest.mark.parametrize(("beta_1", "beta_2", "factor"), [(0.9, 0.999, 10**0.5), (0.0, 0.999, 1000**0.5)])
def test_the_first_step_without_bias_correction(beta_1, beta_2, factor):
    assert bias_correction.first_step(beta_1, beta_2) == pytest.approx(factor)


@pytest.mark.slow
def test_without_bias_correction_training_is_unstable_for_beta_2_near_1():
    """Kingma and Ba 2015, Figure 4: at one η, the nearer β₂ is to 1 the worse, and with correction it is not."""
    figures = bias_correction.show(seed=1, seeds=3).figures.set_index(["beta_1", "beta_2"])
    ours = figures["with bias correction"]
    ratio = figures["loss without, at the best η with"] / ours
    for beta_1 in (0.0, 0.9):
        assert ratio[beta_1, 0.9999] > 3 * ratio[beta_1, 0.99]
        assert ratio[beta_1, 0.9999] > 4
        assert ours[beta_1, 0.9999] < 1.3 * ours[beta_1, 0.99]
    assert figures["best η without"][0.0, 0.9999] < figures["best η with"][0.0, 0.9999] / 5


@pytest.mark.slow
def test_the_gap_between_adam_and_sgd_is_no_larger_with_noise_than_without():
    figures = noise.show(seed=1, batch_sizes=(1, 512), steps=60, seeds=3).figures
    assert (figures.Adam > 0).all()
    ratio = (figures.SGD / figures.Adam).to_numpy()
    assert ratio[0] < 1.5 * ratio[1]


@pytest.mark.slow
def test_adam_learns_rare_features_that_sgd_does_not():
    for seed in (1, 2):
        by = sparse.show(seed=seed, features=400, steps=200, rates=5).figures.set_index("optimizer")
        rare = by["rare ones learnt"]
        assert rare["Adam"] > rare["SGD"] + 0.3
        assert (by["common ones learnt"] > 0.9).all()
        assert by.loc["Adam", "moved while absent"] > 0.3
        assert by.loc["Adam, lazy", "moved while absent"] == 0


@pytest.mark.slow
def test_adam_gains_most_on_rare_classes():
    for seed in (1, 2):
        by = rare_classes.show(seed=seed, classes=60, columns=100, steps=100, rates=7).figures.set_index("optimizer")
        gain = by.loc["gradient descent"] - by.loc["Adam"]
        assert gain["loss of rare classes"] > 3 * abs(gain["loss of common classes"])
        assert by.loc["gradient descent", "loss of rare classes"] > 2 * by.loc["Adam", "loss of rare classes"]


@pytest.mark.slow
def test_the_learning_rate_matters_more_than_either_beta():
    shown = sensitivity.show(seed=1, rates=7, epochs=3)
    for _, one in shown.figures.groupby("hyperparameter"):
        assert one["best loss"].max() < 3 * one["best loss"].min()
    assert 0 < shown.figures["decades of η that are good"].max() < 4


@pytest.mark.slow
def test_narrow_moments_cost_no_loss_that_shows():
    figures = memory.show(seed=1, rates=3, steps=60, seeds=3).figures.set_index("moments in")
    assert figures.iloc[:, 0].tolist() == pytest.approx([8, 4, 2.03], abs=0.01)
    assert (figures["best loss"] < 1.3 * figures["best loss"]["float32"]).all()


@pytest.mark.slow
def test_adam_with_a_small_epsilon_is_wrong_on_the_construction_and_recovers_with_a_large_one():
    """Wilson et al. 2017, Section 3.3."""
    figures = generalization.show(seed=1, steps=2000, seeds=2, network_steps=5).figures
    adams = figures[(figures.task == "construction") & (figures.optimizer == "Adam")].set_index("ε")
    assert (figures["wrong in training"].dropna() == 0).all()
    assert adams["wrong on new rows"][1e-8] == pytest.approx(0.4)
    assert adams["wrong on new rows"][1.0] == 0
    assert figures[figures.optimizer == "gradient descent"]["wrong on new rows"].item() == 0


def test_adam_goes_to_the_wrong_end_where_amsgrad_does_not():
    """Reddi et al. 2018."""
    figures = divergence.show(steps=5000).figures
    ends = figures[figures["η"] == figures["η"].max()].set_index(["optimizer", "β₂"]).x
    assert ends["Adam", 0.9] > 0.9
    assert ends["Adam", 0.9999] < 0  # whose memory is long enough
    assert (ends["AMSGrad"] < 0).all()


def test_decay_in_the_gradient_is_divided_by_its_size_and_decoupled_decay_is_not():
    """Loshchilov and Hutter 2019."""
    coupled, decoupled = (np.asarray(weight_decay.two_coordinates(kind, seed=1)) for kind in (False, True))
    assert coupled[0] / coupled[1] == pytest.approx(100, rel=0.15)
    assert decoupled == pytest.approx([1e-4, 1e-4], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_learning_rate_and_decoupled_decay_can_be_tuned_one_after_the_other(seed):
    """Loshchilov and Hutter 2019, Figure 2, from a start that decay has to erase."""
    figures = weight_decay.show(seed=seed, etas=5, points=7, seeds=2, starts=[weight_decay.LARGE]).figures
    l2, decoupled = figures.set_index("decay_as").loc[[weight_decay.L2, weight_decay.DECOUPLED]].to_dict("records")
    assert decoupled["gain, one decay for all"] > 0.8 * decoupled["gain, decay tuned for each η"] > 0.05
    assert abs(decoupled["slope of the best decay over η, in decades"]) < 0.35
    assert decoupled["gain at the smallest η"] > 0.1
    assert l2["gain at the smallest η"] < 0.02  # no λ helps before η is large
    assert l2["gain, decay tuned for each η"] < decoupled["gain, decay tuned for each η"] / 2


@pytest.mark.slow
def test_full_batch_adam_settles_at_the_edge_of_stability():
    """Cohen et al. 2022."""
    for seed in (1, 2):
        figures = stability.show(seed=seed, etas=(0.003,), every=200).figures
        assert figures["second half, mean"].between(0.7, 1.3).all()
        assert (figures["at first"] < 0.5).all()


@pytest.mark.slow
def test_momentum_and_adaptivity_each_gain_on_gradient_descent_and_adam_on_both():
    by = family.show(seed=1, rates=7, seeds=3).figures.set_index("optimizer").loss
    assert by["Adam"] < by["gradient descent"]
    assert by["+ momentum"] < by["gradient descent"]
    assert by["Adam"] < 1.2 * by["RMSProp, corrected"]


@pytest.mark.slow
def test_a_large_epsilon_makes_adam_descent_whose_rate_goes_with_it():
    figures = epsilon.show(seed=1, rates=7, steps=60, seeds=2).figures.set_index("ε")
    assert figures.loc[1e-12, "best η"] == figures.loc[1e-8, "best η"]
    assert figures.loc[100.0, "best η"] >= 10 * figures.loc[1.0, "best η"]


def test_keras_freezes_a_bfloat16_variable_and_throws_a_float16_one_and_here_neither():
    for seed in (1, 2):
        figures = narrow.show(seed=seed).figures.set_index("dtype")
        assert figures.loc["bfloat16", "Keras"] == 1
        assert abs(figures.loc["float16", "Keras"]) > 10
        assert figures["adamkit"].to_numpy() == pytest.approx(figures["float32"].to_numpy(), rel=2**-8)
