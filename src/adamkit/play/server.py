"""The server of the page: what it may be asked, and the stream by which it tells each tab what is new."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from adamkit.lab.errors import InputError
from adamkit.play import choices, code, files, inside, saving
from adamkit.play.archive import Archive, Run
from adamkit.play.choices import Choice
from adamkit.play.safety import Guard
from adamkit.play.subject import Subject
from adamkit.play.training import Bench
from adamkit.play.words import words
from adamkit.play.workers import Status, SupersededError, Workers

_AT_ONCE = 64  # runs a message
_SILENCE = 5.0  # seconds after which a tab is told that the server is still there
_MOST_TABS = 32


class Play:
    """A subject, its workers, and the tabs that look at them.

    Args:
        subject: What is played with.
        runs: That were trained before.

    Attributes:
        archive: All runs.
        workers: What trains them; they begin with `start`.
    """

    def __init__(self, subject: Subject, runs: Sequence[Run] = ()):
        self.subject = subject
        self.described = subject.describe()
        self.stops = {name: slider["stops"] for name, slider in self.described["sliders"].items()}
        self.bench = Bench(subject)
        self.archive = Archive()
        self.archive.add(runs)
        self.workers = Workers(self.bench, self.archive, self.stops, lambda tab: self._tell())
        self.archive.on_more = self._tell
        self.closing = False
        self._tabs: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to train."""
        self.workers.start()

    def close(self) -> None:
        """End what is at work, and all streams."""
        self.closing = True
        self.workers.close()
        self._tell()

    def app(self, *, port: int, hosts: tuple[str, ...] = (), token: str | None = None, framed: bool = False) -> Any:
        """The application; see `safety.Guard` for its arguments.

        Args:
            port: …
            hosts: …
            token: …
            framed: Whether a notebook on this machine may show the page.
        """
        routes = [
            Route("/", lambda request: HTMLResponse(**files.page(framed=framed))),
            Route("/static/{name:path}", _static),
            Route("/api/subject", lambda request: JSONResponse(self.described)),
            Route("/api/events", self._events),
            *(
                Route(f"/api/{name}", _answering(getattr(self, f"_{name}")), methods=["POST"])
                for name in ("train", "cancel", "wish", "words", "code", "page", "sweep", "inside", "weight")
            ),
        ]
        return Guard(Starlette(routes=routes), port=port, hosts=hosts, token=token)

    def _tell(self) -> None:
        """Wake all streams, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: [event.set() for event in self._tabs.values()])

    # What a tab may ask for.

    async def _train(self, asked: dict[str, Any]) -> Response:
        future = self.workers.ask(_tab(asked), self._choice(asked))
        run = await asyncio.wrap_future(future)
        return JSONResponse(run.as_json() | {"command": self.subject.command(run.choice)})

    async def _cancel(self, asked: dict[str, Any]) -> Response:
        self.workers.cancel(_tab(asked))
        return JSONResponse({})

    async def _wish(self, asked: dict[str, Any]) -> Response:
        tab, choice, axes = _tab(asked), self._choice(asked), asked.get("axes")
        if axes is not None:
            known = choice.setting
            if not (isinstance(axes, list) and len(axes) == 2 and axes[0] != axes[1] and all(a in known for a in axes)):
                raise InputError(f"axes must be two of the choice's hyperparameters. Received: axes={axes!r}")
            axes = (axes[0], axes[1])
        if tab in self._tabs:
            self.workers.wish(tab, choice, axes)
        return JSONResponse({})

    async def _words(self, asked: dict[str, Any]) -> Response:
        return JSONResponse(await asyncio.to_thread(self._said, self._choice(asked)))

    def _said(self, choice: Choice) -> dict[str, Any]:
        return words(self.archive.latest(), choice, self.subject.columns, self.subject.objective)

    async def _code(self, asked: dict[str, Any]) -> Response:
        return JSONResponse(code.lines(self.subject, self._choice(asked)))

    async def _page(self, asked: dict[str, Any]) -> Response:
        choice = self._choice(asked)

        def made() -> str:
            return saving.as_page(self.described, self.archive.latest(), self._said(choice))

        return HTMLResponse(await asyncio.to_thread(made))

    async def _sweep(self, asked: dict[str, Any]) -> Response:
        runs, choice = self.archive.latest(), self._choice(asked)
        folder = await asyncio.to_thread(saving.as_sweep, self.subject, runs, choice)
        return JSONResponse({"folder": str(folder.path)})

    async def _inside(self, asked: dict[str, Any]) -> Response:
        return JSONResponse(await asyncio.to_thread(inside.variables, self.bench, self._choice(asked)))

    async def _weight(self, asked: dict[str, Any]) -> Response:
        of = (asked.get("variable"), asked.get("weight"), asked.get("steps"))
        return JSONResponse(await asyncio.to_thread(inside.weight, self.bench, self._choice(asked), *of))

    def _choice(self, asked: dict[str, Any]) -> Choice:
        return choices.checked(asked.get("choice"), self.subject.defaults)

    # What it is told.

    async def _events(self, request: Request) -> Response:
        tab = request.query_params.get("tab", "")
        if not _is_name(tab) or len(self._tabs) >= _MOST_TABS:
            return JSONResponse({"error": f"a tab needs a name, and there are at most {_MOST_TABS}"}, 400)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(tab), media_type="text/event-stream", headers=headers)

    async def _stream(self, tab: str) -> AsyncIterator[str]:
        """Events of one tab: first every run that there is, then what is new."""
        self._loop = asyncio.get_running_loop()
        event = self._tabs[tab] = asyncio.Event()
        place, status = 0, None
        try:
            yield "retry: 500\n\n" + _event("hello", {"runs": len(self.archive)})
            while not self.closing:
                while runs := self.archive.since(place, _AT_ONCE):
                    place += len(runs)
                    yield _event("runs", [run.as_json() for run in runs])
                now = self.workers.statuses.get(tab)
                if now is not status:
                    status = now
                    yield _event("status", _status(now))
                try:
                    await asyncio.wait_for(event.wait(), _SILENCE)
                except TimeoutError:
                    yield ": still here\n\n"
                event.clear()
        finally:
            if self._tabs.get(tab) is event:
                del self._tabs[tab]
                self.workers.leave(tab)


def _answering(answer: Callable[[dict[str, Any]], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """What answers a request with a JSON object; what is wrong with it is said in its own words."""

    async def respond(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            if not isinstance(asked, dict):
                raise ValueError
        except ValueError:
            return JSONResponse({"error": "the body must be a JSON object"}, 400)
        try:
            return await answer(asked)
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except OSError as error:  # a disk that is full, say
            return JSONResponse({"error": str(error)}, 500)
        except SupersededError:
            return JSONResponse({"error": "superseded"}, 409)

    return respond


async def _static(request: Request) -> Response:
    found = files.static(request.path_params["name"])
    return JSONResponse({"error": "not found"}, 404) if found is None else Response(**found)


def _tab(asked: dict[str, Any]) -> str:
    tab = asked.get("tab")
    if not isinstance(tab, str) or not _is_name(tab):
        raise InputError(f"tab must be a name of letters and digits. Received: tab={tab!r}")
    return tab


def _is_name(tab: str) -> bool:
    return 0 < len(tab) <= 40 and tab.isalnum()


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _status(status: Status | None) -> dict[str, Any]:
    status = status or Status()
    return {
        "state": status.state, "epoch": status.epoch, "epochs": status.epochs, "left": status.left,
        "choice": None if status.choice is None else status.choice.as_json(),
        "curve": [[float(x) if x == x and abs(x) != float("inf") else None for x in row] for row in status.curve],
    }  # fmt: skip
