"""Where Adam generalizes worse: the construction of Wilson et al. 2017 over ε, and digits with few rows, tuned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam, descend, of_optax
from adamkit.lab.insight.experiments.shown import Shown, number, percent, stacked, whether
from adamkit.lab.insight.experiments.shown import table as table_of

POSITIVE = 0.6  # the share of positive rows
EPSILONS = 10.0 ** np.arange(-12, 3)


def show(*, seed: int = 0, rows: int = 100, steps: int = 3000, seeds: int = 6, network_steps: int = 300) -> Shown:
    """Rows with the label in one feature and private features beside it; then a network on 200 rows of digits."""
    x, y = construction(rows)

    def gradient(w, _):
        return x.T @ (x @ w - y) / rows

    def trained(epsilon):  # η grows with ε, so that for a large one the step stays that of gradient descent at 0.1
        return descend(adam(0.001 + 0.1 * epsilon, epsilon=epsilon), gradient, jnp.zeros(x.shape[1]), steps, keep=False)

    by_epsilon = np.asarray(jax.jit(jax.vmap(trained))(jnp.array(EPSILONS))[0])
    plain = of_optax(optax.sgd(0.1))
    by_descent = jax.jit(lambda w: descend(plain, gradient, w, steps, keep=False)[0])(jnp.zeros(x.shape[1]))
    cases = [("Adam", epsilon, w) for epsilon, w in zip(EPSILONS, by_epsilon, strict=True)]
    figures = table_of(
        [
            {"task": "construction", "optimizer": name, "ε": epsilon, "wrong in training": errors(x, y, w)}
            | {"wrong on new rows": new_errors(w)}
            for name, epsilon, w in [*cases, ("gradient descent", np.nan, np.asarray(by_descent))]
        ]
    )
    digits = _digits(seed, seeds, network_steps)
    chart = pictures.lines(
        figures[figures.optimizer == "Adam"], "ε", "wrong on new rows", "optimizer", log="x",
        reference=(float(figures["wrong on new rows"].iloc[-1]), "gradient descent"),
        title="Share of new rows that are wrong, by ε",
        notes=["Least squares on the construction of Wilson et al. 2017; every run fits all rows that it trains on"],
    )  # fmt: skip
    small, large = figures.iloc[0], figures[figures.optimizer == "Adam"].iloc[-1]
    recovers = figures[(figures.optimizer == "Adam") & (figures["wrong on new rows"] < 0.05)]["ε"].min()
    gap = digits["Adam"] - digits["SGD with momentum"]
    band = 2 * gap.std(ddof=1) / np.sqrt(len(gap))
    paragraph = (
        f"On the construction, Adam with ε = {number(small['ε'])} gets {percent(small['wrong in training'])} of the "
        f"rows that it trains on wrong and {percent(small['wrong on new rows'])} of new ones; gradient descent gets "
        f"{percent(figures['wrong on new rows'].iloc[-1])} of the new ones wrong. "
        + whether(
            np.isfinite(recovers),
            f"It is a matter of ε: from ε = {number(recovers)} on Adam recovers, to "
            f"{percent(large['wrong on new rows'])}. ",
            "No ε of these lets Adam recover. ",
        )
        + "Real data are another matter. On digits with 200 rows and a fifth of the labels drawn anew, each with its "
        f"best η, Adam gets {percent(digits['Adam'].mean())} of the held-out rows right and SGD with momentum "
        f"{percent(digits['SGD with momentum'].mean())}; the difference over {len(gap)} seeds is "
        f"{100 * gap.mean():+.1f} ± "
        f"{100 * band:.1f} points: " + whether(abs(gap.mean()) > band, "more than luck.", "no difference beyond luck.")
    )
    more = table_of(
        [{"task": "digits", "optimizer": name, "wrong on new rows": 1 - right.mean()} for name, right in digits.items()]
    )
    return Shown(paragraph, stacked([figures, more]), {"generalization": chart})


def construction(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Wilson et al. 2017, Section 3.3: the label, two ones, and one private feature a positive row, five a negative."""
    y = np.where(np.arange(rows) < POSITIVE * rows, 1.0, -1.0).astype(np.float32)
    x = np.zeros((rows, 3 + 5 * rows), np.float32)
    x[:, 0], x[:, 1:3] = y, 1
    for row in range(rows):
        x[row, 3 + 5 * row : 3 + 5 * row + (1 if y[row] > 0 else 5)] = 1
    return x, y


def errors(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The share of rows whose label has the other sign."""
    return float(np.mean(np.sign(x @ w) != y))


def new_errors(w: np.ndarray) -> float:
    """The same of new rows: their private features are new, so their weights are still 0."""
    wrong = {y: np.sign(y * w[0] + w[1] + w[2]) != y for y in (1.0, -1.0)}
    return float(POSITIVE * wrong[1.0] + (1 - POSITIVE) * wrong[-1.0])


def _digits(seed: int, seeds: int, steps: int) -> dict[str, np.ndarray]:
    """Held-out accuracy with the best rate of each optimizer, by seed."""
    rows = tasks.digits(200, test_rows=1000, label_noise=0.2, seed=seed)
    kinds = {"Adam": (adam, (1e-4, 0.1)), "SGD with momentum": (_momentum, (1e-3, 1.0))}
    found = {}
    for name, (optimizer, ends) in kinds.items():
        rates = jnp.geomspace(ends[0], ends[1], 10)
        fitted = tasks.fit(optimizer, rates, rows, steps=steps, batch_size=32, seeds=seeds, seed=seed)
        right = fitted.test_accuracy
        found[name] = right[np.argmax(right.mean(axis=1))]
    return found


def _momentum(rate):
    return of_optax(optax.sgd(rate, 0.9))
