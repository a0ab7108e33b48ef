"""What a launched kernel is given: where the tensors lie and which tile is whose, on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamkit.kernels.form import Form

TILE = 1024  # elements that a program steps: a multiple of a block, so that no block is shared

ROW = (  # of each tensor: its first tile, its number of elements, addresses, and its place among the parameters
    *("start", "size", "parameter", "gradient", "first", "second", "largest"),
    *("first_scale", "second_scale", "largest_scale", "remainder", "key"),
)


class Table(NamedTuple):
    """The tensors of a launch."""

    tiles: int
    owners: Tensor  # (tiles,) int32: the tensor that a tile is part of
    rows: Tensor  # (tensors, len(ROW)) int64
    staging: Tensor  # what both are copied from, on the host: the copy may not be done yet


def table(form: Form, sizes: Sequence[int], columns: Sequence[Sequence[int]], device: torch.device) -> Table:
    """A table on the device, made without waiting for it.

    Args:
        form: How the tensors are stored.
        sizes: The number of elements of each parameter.
        columns: For each of the form's columns an address of each tensor; for "key" the parameter's place among those
            of its optimizer.
        device: Where the tensors are.
    """
    rows = np.zeros((len(sizes), len(ROW)), np.int64)
    tiles = -(-np.asarray(sizes, np.int64) // TILE)
    rows[:, 0], rows[:, 1] = tiles.cumsum() - tiles, sizes
    for name, column in zip(form.columns(), columns, strict=True):
        rows[:, ROW.index(name)] = column
    owners = np.repeat(np.arange(len(sizes), dtype=np.int32), tiles)
    # In one piece of memory, and so one copy: rows, which need the larger alignment, come first.
    staging = torch.from_numpy(np.concatenate([rows.reshape(-1).view(np.uint8), owners.view(np.uint8)]))
    if device.type != "cpu":
        staging = staging.pin_memory()
    both = staging.to(device, non_blocking=True)
    rows_on_device = both[: rows.nbytes].view(torch.int64).view(rows.shape)
    return Table(len(owners), both[rows.nbytes :].view(torch.int32), rows_on_device, staging)


class Tables:
    """The tables of an optimizer's last steps, renewed when a tensor has moved."""

    def __init__(self) -> None:
        self._last: dict[object, tuple[object, Table]] = {}
        self._captured: list[Table] = []

    def table(
        self,
        key: object,
        form: Form,
        sizes: Sequence[int],
        columns: Sequence[Sequence[int]],
        device: torch.device,
    ) -> Table:
        """As `table`: the one that was last made for this key, if it is still true.

        Args:
            key: What stays the same from step to step.
            form: As for `table`, like all that follow.
            sizes: See there.
            columns: See there.
            device: See there.
        """
        contents, captured = (form, tuple(sizes), tuple(map(tuple, columns)), device), _is_capturing(device)
        known, made = self._last.get(key, (None, None))
        if made is None or known != contents:
            made = table(form, sizes, columns, device)
            if not captured:  # else it is empty until the graph runs, which fills it: of no use to another step
                self._last[key] = (contents, made)
        if captured:
            self._captured.append(made)  # a graph reads it, and the memory that it is copied from, whenever it runs
        return made


def _is_capturing(device: torch.device) -> bool:
    """Whether what is done now on the device becomes part of a CUDA graph and is not done yet."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
