"""Every run that was trained for the page, in the order in which it was."""

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamkit.play.choices import Choice

MOST = 4096  # runs; from then on only what is asked for is trained


@dataclass(frozen=True)
class Run:
    """What one choice gave.

    Attributes:
        choice: What was trained.
        curve: (epochs, columns) float32. NaN or infinite where it diverged.
        alone: Whether no other run was trained beside it: then its figures are those of `lab.train` to the bit of their
            sums, else to float32 rounding.
    """

    choice: Choice
    curve: np.ndarray
    alone: bool

    def as_json(self) -> dict[str, Any]:
        """As the page has it: the curve as base64 of float32, so that no digit is lost."""
        packed = base64.b64encode(np.ascontiguousarray(self.curve, "<f4").tobytes()).decode()
        return {"choice": self.choice.as_json(), "curve": packed, "alone": self.alone}


class Archive:
    """Runs, which only become more. Several threads may use it.

    Args:
        on_more: Called, by the thread that adds some, when there are more.
    """

    def __init__(self, on_more: Callable[[], None] = lambda: None):
        self.on_more = on_more
        self._runs: list[Run] = []
        self._places: dict[Choice, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, choice: Choice) -> bool:
        return choice in self._places

    def of(self, choice: Choice) -> Run | None:
        """The latest run of a choice."""
        place = self._places.get(choice)
        return None if place is None else self._runs[place]

    def since(self, place: int, most: int) -> list[Run]:
        """The runs from a place on, at most so many."""
        return self._runs[place : place + most]

    def add(self, runs: Sequence[Run]) -> None:
        """Keep more runs; one that was trained alone is not replaced by one that was not."""
        with self._lock:
            for run in runs:
                known = self.of(run.choice)
                if known is None or (run.alone and not known.alone):
                    self._places[run.choice] = len(self._runs)
                    self._runs.append(run)
        self.on_more()

    def latest(self) -> list[Run]:
        """Of each choice its latest run."""
        with self._lock:
            return [self._runs[place] for place in self._places.values()]
