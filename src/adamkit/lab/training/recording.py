"""Adam that keeps what one weight saw: a row a step, in a variable of the optimizer's, so that any backend can."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from adamkit.keras import Adam
from adamkit.keras.internals import trained_by
from adamkit.lab.errors import InputError


class Row(NamedTuple):
    """One step of one weight: numbers, or (steps,) arrays of them."""

    before: Any  # θ before the step
    after: Any  # θ after it
    gradient: Any  # g, after whatever clips it
    first_moment: Any  # m, as it is kept
    second_moment: Any  # v, as it is kept
    largest: Any  # the largest v so far; 0 without AMSGrad
    learning_rate: Any  # η of this step


class Recording(Adam):
    """`adamkit.keras.Adam`, and what its first steps did to one weight.

    Args:
        place: The weight's variable, by its place among the model's trainable ones, and its place in that, flattened.
        steps: How many steps to keep.
        **arguments: Those of Adam.
    """

    def __init__(self, *, place: tuple[int, int], steps: int, **arguments: Any):
        super().__init__(**arguments)
        self._place, self._steps = place, steps
        self._rows: Any = None

    def build(self, var_list):
        """Adam's variables, and one for the rows; a last row takes the steps that are not kept."""
        super().build(var_list)
        dtype = "float64" if var_list[self._place[0]].dtype == "float64" else "float32"
        self._rows = self.add_variable((self._steps + 1, len(Row._fields)), dtype=dtype, name="rows")

    @property
    def rows(self) -> Row:
        """The steps that were taken, of those to be kept: (steps,) each."""
        done = min(int(np.asarray(ops.convert_to_numpy(self.iterations))), self._steps)
        return Row(*np.asarray(ops.convert_to_numpy(self._rows), np.float64)[:done].T)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        variable = trained_by(self)[self._place[0]]
        # Copies: a kernel may step in place.
        before = ops.copy(self._one(self._wide(variable)))
        gradients = [g for g, own in zip(grads, trainable_variables, strict=True) if own is variable]
        if not gradients:  # Keras leaves out, with a warning, what the loss does not depend on
            raise InputError(f"weight must be one that the loss depends on. Received: one of {variable.path}")
        gradient = ops.copy(self._one(gradients[0]))
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        kept = [self._one(slot.read(self._rows.dtype)) for slot in self._slots(variable)]
        largest = kept[2] if self.amsgrad else 0.0
        row = Row(before, self._one(self._wide(variable)), gradient, kept[0], kept[1], largest, learning_rate)
        numbers: Any = ops.stack([ops.cast(number, self._rows.dtype) for number in row])
        at = ops.cast(ops.minimum(self.iterations, self._steps), "int32")
        self.assign(self._rows, ops.slice_update(ops.convert_to_tensor(self._rows), ops.stack([at, 0]), numbers[None]))

    def _one(self, values: Any) -> Any:
        flat: Any = ops.reshape(values, (-1,))
        return flat[self._place[1]]
