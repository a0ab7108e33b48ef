"""A run on its way to some tools while it trains."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from adamkit.lab.logs.tool import FAILED, INTERRUPTED, Run, Tool, begun, failed, installed

Row = Mapping[str, float]


class Watcher:
    """A context manager that sends a run to tools as it goes on.

    It begins the run at its start, and ends what the block leaves open where that fails. Figures go to each tool from a
    thread of its own, so that none holds up training or another; all else is done in the caller's.

    Args:
        tools: Where to.
        name: Of the run.
        parameters: Names and values of what it was made from.
        warn: Is told, once for each, of a tool that is not installed, or that failed.
    """

    def __init__(self, tools: Iterable[Tool], name: str, parameters: Mapping[str, Any], warn: Callable[[str], None]):
        self._tools, self._name, self._parameters, self._warn = tools, name, parameters, warn
        self._senders: list[_Sender] = []
        self._sent = 0

    def __enter__(self) -> "Watcher":
        for tool in installed(self._tools, self._warn):
            run = begun(tool, self._name, self._parameters, self._warn)
            if run is not None:
                self._senders.append(_Sender(tool, run))
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:
            self.end(INTERRUPTED if issubclass(kind, KeyboardInterrupt) else FAILED)

    def follow(self, rows: Sequence[Row]) -> None:
        """Send what is new of a history: all its rows so far, also those of before the run was taken up again."""
        for sender in self._senders:
            for row in rows[self._sent :]:
                sender.queue.put(row)
        self._sent = len(rows)

    def end(self, status: str, figures: Mapping[str, float] | None = None, files: Sequence[Path] = ()) -> list[str]:
        """Wait until everything is sent; returns where the run is to be seen, a line a tool.

        Args:
            status: `"done"`, `"interrupted"` or `"failed"`.
            figures: What was measured once, at the end, by name.
            files: What the run leaves.
        """
        seen = []
        for sender in self._senders:
            try:
                sender.finish()
                where = sender.kept.where
                sender.kept.end(status, figures or {}, files)
                seen.append(f"{type(sender.tool).__name__}: {where}")
            except Exception as error:  # whatever the tool raises
                self._warn(failed(sender.tool, error))
        self._senders = []
        return seen


class _Sender(threading.Thread):
    """Rows of a history from a queue to a tool; None is the last."""

    def __init__(self, tool: Tool, run: Run):
        super().__init__(name=f"adamkit-{tool.package}", daemon=True)
        self.tool, self.kept, self.queue = tool, run, SimpleQueue[Row | None]()
        self._failure: BaseException | None = None
        self.start()

    def finish(self) -> None:
        """Wait until all rows are sent; raises what the tool raised."""
        self.queue.put(None)
        self.join()
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        try:
            going_on = True
            while going_on:
                rows, going_on = self._waiting()
                if rows:
                    self.kept.add(rows)
        except BaseException as error:  # raised again in the caller's thread
            self._failure = error

    def _waiting(self) -> tuple[list[Row], bool]:
        """All rows that have come meanwhile, and whether more may come."""
        rows = []
        while True:
            row = self.queue.get()
            if row is None:
                return rows, False
            rows.append(row)
            if self.queue.empty():
                return rows, True
