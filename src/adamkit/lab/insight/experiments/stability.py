"""Adam on all rows: the largest eigenvalue of the preconditioned Hessian over the steps (Cohen et al. 2022)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from adamkit.lab.insight.experiments import pictures, tasks
from adamkit.lab.insight.experiments.optimizers import adam
from adamkit.lab.insight.experiments.shown import Shown, number, percent, whether
from adamkit.lab.insight.experiments.shown import table as table_of

BETA_1, EPSILON = 0.9, 1e-7
THRESHOLD = (2 + 2 * BETA_1) / (1 - BETA_1)  # over η: where a quadratic under momentum of this form begins to diverge


def show(
    *, seed: int = 0, etas: tuple[float, ...] = (0.001, 0.003), rows: int = 100, hidden: int = 5,
    steps: int = 2400, every: int = 200, beta_2: float = 0.99,
) -> Shown:  # fmt: skip
    """A tanh network on digits with squared loss, so small that its whole Hessian can be computed."""
    data = tasks.digits(rows, seed=seed)
    x, target = jnp.asarray(data.x), jax.nn.one_hot(data.y, tasks.CLASSES)
    start, structure = ravel_pytree(tasks.network((64, hidden, tasks.CLASSES), np.random.default_rng(seed)))

    def loss(flat):
        return jnp.mean(jnp.sum((tasks.outputs(structure(flat), x, jnp.tanh) - target) ** 2, axis=1))

    def go_on(eta, flat, state):
        optimizer = adam(eta, BETA_1, beta_2, EPSILON)

        def one(carry, _):
            flat, state = carry
            return optimizer.step(flat, jax.grad(loss)(flat), state), None

        return jax.lax.scan(one, (flat, state), None, length=every)[0]

    def sharpness(flat, state):
        """The largest eigenvalue of P^−½·H·P^−½, with P what the rule divides by."""
        t, _, v, _ = state
        root = jnp.sqrt(jnp.sqrt(v / (1 - beta_2**t)) + EPSILON)
        return jnp.linalg.eigvalsh(jax.hessian(loss)(flat) / jnp.outer(root, root))[-1]

    go_on, measure = (
        jax.jit(jax.vmap(go_on)),
        jax.jit(lambda own: jax.lax.map(lambda one: (sharpness(*one), loss(one[0])), own)),
    )
    rates = jnp.array(etas)
    flat = jnp.broadcast_to(start, (len(etas), len(start)))
    state = jax.vmap(lambda flat: adam(0.0).init(flat))(flat)
    parts = []
    for step in range(every, steps + 1, every):
        flat, state = go_on(rates, flat, state)
        found = zip(etas, *map(np.asarray, measure((flat, state))), strict=True)
        parts += [
            {"step": step, "η": f"{eta:g}", "eigenvalue / threshold": top * eta / THRESHOLD, "loss": value}
            for eta, top, value in found
        ]
    table = table_of(parts)
    late = table[table.step > steps / 2].groupby("η", sort=False)["eigenvalue / threshold"]
    figures = table_of({"at first": table.groupby("η", sort=False)["eigenvalue / threshold"].first()})
    figures["second half, mean"], figures["lowest"], figures["highest"] = late.mean(), late.min(), late.max()
    figures["threshold"] = THRESHOLD / np.array(etas)
    figures["loss at the end"] = table.groupby("η", sort=False).loss.last()
    chart = pictures.lines(
        table, "step", "eigenvalue / threshold", "η", log="y", reference=(1.0, "edge of stability"),
        title="The preconditioned Hessian's largest eigenvalue, over that at the edge",
        notes=[f"A tanh network of {len(start)} parameters, all {rows} rows in each step, beta_2 = {beta_2:g}"],
    )  # fmt: skip
    at_edge = figures[(figures["second half, mean"] > 0.7) & (figures["second half, mean"] < 1.3)]
    paragraph = (
        "Gradient descent with momentum of this form is unstable on a quadratic whose curvature is above "
        f"{THRESHOLD:g}/η. With what Adam divides by as its metric, the largest eigenvalue of the Hessian is, over "
        "the second half of the steps, "
        + ", ".join(f"{number(row['second half, mean'])} of that for η = {eta}" for eta, row in figures.iterrows())
        + f". {percent(len(at_edge) / len(figures))} of these η settle within 30 % of the edge"
        + whether(
            len(at_edge) == len(figures),
            ", and the loss goes on falling: Adam trains at the edge of stability, as Cohen et al. 2022 found.",
            "; the others have not come to it within these steps.",
        )
    )
    return Shown(paragraph, figures.reset_index(), {"stability": chart})
