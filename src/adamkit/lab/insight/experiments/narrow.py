"""A variable in bfloat16 and one in float16, stepped by Keras's Adam and by adamkit's."""

import keras
import numpy as np

from adamkit.keras import Adam
from adamkit.lab.insight.experiments import pictures
from adamkit.lab.insight.experiments.shown import Shown, number, whether
from adamkit.lab.insight.experiments.shown import table as table_of

KERAS, HERE, EXACT = "Keras", "adamkit", "float32"


def show(*, seed: int = 0, steps: int = 10, learning_rate: float = 0.01) -> Shown:
    """From 1, with gradients of 0.001 that vary by a tenth; what is exact is adamkit's path in float32."""
    gradients = 1e-3 * (1 + 0.1 * np.random.default_rng(seed).normal(size=steps))
    rows = []
    for dtype in ("bfloat16", "float16"):
        makers = {KERAS: keras.optimizers.Adam, HERE: Adam, EXACT: Adam}
        for name, maker in makers.items():
            values = path(maker(learning_rate), gradients, "float32" if name == EXACT else dtype)
            rows += [
                {"dtype": dtype, "optimizer": name, "step": step, "variable": value}
                for step, value in enumerate(values)
            ]
    table = table_of(rows)
    exact = float(table[table.optimizer == EXACT]["variable"].iloc[steps])
    ends = table[table.step == steps].set_index(["dtype", "optimizer"]).variable
    figures = ends.unstack()[[KERAS, HERE, EXACT]].reset_index()
    half, brain = ends["float16", KERAS], ends["bfloat16", KERAS]
    charts = {
        f"narrow-{dtype}": pictures.lines(
            table[table.dtype == dtype], "step", "variable", "optimizer", dashed=[EXACT],
            title=f"A {dtype} variable from 1, with η = {learning_rate:g}", notes=["Gradients of about 0.001"],
        )
        for dtype in ("bfloat16", "float16")
    }  # fmt: skip
    paragraph = (
        f"{steps} steps of η = {learning_rate:g} take a float32 variable from 1 to {number(exact)}. Keras's Adam "
        f"takes the same variable in bfloat16 to {number(brain)}: "
        + whether(brain == 1, "it does not move, for β₂ = 0.999 rounds to 1 in bfloat16. ", "it does move. ")
        + f"In float16 it goes to {number(half)}: "
        + whether(abs(half - exact) > 0.5, "v underflows to 0, and only ε is left to divide by. ", "it holds. ")
        + "Here the arithmetic is float32 and what rounding drops is kept beside the variable: bfloat16 ends at "
        f"{number(ends['bfloat16', HERE])} and float16 at {number(ends['float16', HERE])}, the exact value in the "
        "format's own digits."
    )
    return Shown(paragraph, figures, charts)


def path(optimizer: keras.Optimizer, gradients: np.ndarray, dtype: str) -> list[float]:
    """A variable's values before and after each step."""
    variable = keras.Variable(1.0, dtype=dtype)
    values = [1.0]
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, dtype)], [variable])
        values.append(float(np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))))
    return values
